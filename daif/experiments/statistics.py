"""Statistics of runs and simulations: intervals instead of single numbers.

Learned agents are compared by the interquartile mean over seeds with a stratified bootstrap, performance profiles and
the probability of improvement (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice"); simulation outputs by Student intervals over independent replications.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A point estimate with the bounds of its confidence interval, all in the unit of the data."""

    value: float
    """The point estimate."""
    low: float
    """The lower bound."""
    high: float
    """The upper bound."""

    @property
    def half_width(self) -> float:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2.0

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def as_dict(self) -> dict[str, float]:
        """Return the three numbers by name, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def student_interval(samples: np.ndarray, confidence: float = 0.95) -> Interval:
    """Return the mean of independent samples and its Student interval.

    mean ± t(1 − α/2, n − 1) · s / √n. With one sample the interval is unbounded.

    Args:
        samples: shape (n,), n ≥ 1.
        confidence: 1 − α.
    """
    values = _finite_vector(samples)
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, float("-inf"), float("inf"))
    half = float(stats.t.ppf(0.5 + confidence / 2.0, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return Interval(mean, mean - half, mean + half)


def interquartile_mean(scores: np.ndarray, axis: int | None = None) -> np.ndarray | float:
    """Return the mean of the middle half: a quarter of the scores is cut off at either end (rounded down).

    Args:
        scores: any shape.
        axis: the axis to reduce; None reduces all scores together.
    """
    result = stats.trim_mean(np.asarray(scores, dtype=float), proportiontocut=0.25, axis=axis)
    return float(result) if axis is None else result


def bootstrap_iqm(
    scores: np.ndarray, *, rng: np.random.Generator, resamples: int = 2000, confidence: float = 0.95
) -> Interval:
    """Return the interquartile mean over runs and tasks with its stratified-bootstrap percentile interval.

    Runs are resampled with replacement within each task (the strata), never across tasks.

    Args:
        scores: shape (runs, tasks), or (runs,) for a single task.
        rng: the generator that draws the resamples.
        resamples: how many times to resample.
        confidence: mass between the bounds.
    """
    matrix = _score_matrix(scores)
    runs, tasks = matrix.shape
    rows = rng.integers(0, runs, size=(resamples, runs, tasks))
    resampled = matrix[rows, np.arange(tasks)]
    estimates = stats.trim_mean(resampled.reshape(resamples, -1), proportiontocut=0.25, axis=1)
    low, high = np.quantile(estimates, [0.5 - confidence / 2.0, 0.5 + confidence / 2.0])
    return Interval(float(interquartile_mean(matrix)), float(low), float(high))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return, for each threshold, the share of runs (averaged over tasks) that score above it.

    Args:
        scores: shape (runs, tasks) or (runs,).
        thresholds: shape (k,).

    Returns:
        Shares in [0, 1], shape (k,).
    """
    matrix = _score_matrix(scores)
    return (matrix[None, :, :] > np.asarray(thresholds, dtype=float)[:, None, None]).mean(axis=(1, 2))


def probability_of_improvement(
    first: np.ndarray,
    second: np.ndarray,
    *,
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return the probability that a run of the first agent beats one of the second on the same task (ties count half).

    The Mann-Whitney statistic divided by the number of pairs, averaged over tasks; with a generator, also its
    stratified-bootstrap interval (without one, the bounds equal the value).

    Args:
        first: shape (runs, tasks) or (runs,).
        second: shape (other runs, tasks) or (other runs,).
        rng: the generator that draws the resamples.
        resamples: how many times to resample.
        confidence: mass between the bounds.
    """
    a, b = _score_matrix(first), _score_matrix(second)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"The agents were scored on {a.shape[1]} and {b.shape[1]} tasks; the tasks must be the same.")
    value = float(_improvement(a[None], b[None])[0])
    if rng is None:
        return Interval(value, value, value)
    tasks = np.arange(a.shape[1])
    a_resampled = a[rng.integers(0, a.shape[0], size=(resamples, *a.shape)), tasks]
    b_resampled = b[rng.integers(0, b.shape[0], size=(resamples, *b.shape)), tasks]
    estimates = _improvement(a_resampled, b_resampled)
    low, high = np.quantile(estimates, [0.5 - confidence / 2.0, 0.5 + confidence / 2.0])
    return Interval(value, float(low), float(high))


def hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """Return the area that a set of (loss, saving) points dominates: loss is minimised, saving maximised.

    Args:
        points: shape (n, 2), columns loss and saving.
        reference: the worst (loss, saving) that counts; points beyond it add nothing.
    """
    worst_loss, worst_saving = reference
    useful = sorted((float(x), float(y)) for x, y in points if x < worst_loss and y > worst_saving)
    area, best = 0.0, worst_saving
    for index, (loss, saving) in enumerate(useful):
        best = max(best, saving)
        following = useful[index + 1][0] if index + 1 < len(useful) else worst_loss
        area += (following - loss) * (best - worst_saving)
    return area


def _improvement(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shapes (resamples, runs, tasks) and (resamples, other runs, tasks) -> (resamples,)."""
    difference = a[:, :, None, :] - b[:, None, :, :]
    return ((difference > 0).mean(axis=(1, 2, 3))) + 0.5 * ((difference == 0).mean(axis=(1, 2, 3)))


def _finite_vector(samples: np.ndarray) -> np.ndarray:
    values = np.asarray(samples, dtype=float).reshape(-1)
    if values.size == 0:
        raise ValueError("No samples were given; at least one is needed.")
    if not np.all(np.isfinite(values)):
        raise ValueError("The samples contain values that are not finite.")
    return values


def _score_matrix(scores: np.ndarray) -> np.ndarray:
    matrix = np.asarray(scores, dtype=float)
    if matrix.ndim == 1:
        matrix = matrix[:, None]
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"Scores have the shape (runs,) or (runs, tasks); this one is {matrix.shape}.")
    return matrix
