"""Statistics against hand-worked numbers and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from daif.experiments import statistics


def test_student_interval_by_hand():
    # mean 3, sample deviation sqrt(2.5), t(0.975, 4) = 2.776445: half width 2.776445 * sqrt(2.5) / sqrt(5) = 1.963243
    interval = statistics.student_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert interval.value == pytest.approx(3.0)
    assert interval.half_width == pytest.approx(1.963243, abs=1e-5)


def test_student_interval_agrees_with_scipy():
    samples = np.random.default_rng(0).normal(5.0, 2.0, size=17)
    low, high = stats.ttest_1samp(samples, 0.0).confidence_interval(0.9)
    interval = statistics.student_interval(samples, confidence=0.9)
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_one_sample_has_an_unbounded_interval():
    interval = statistics.student_interval(np.array([2.0]))
    assert (interval.value, interval.low, interval.high) == (2.0, float("-inf"), float("inf"))


@pytest.mark.parametrize(("samples", "reason"), [([], "No samples"), ([1.0, float("nan")], "not finite")])
def test_student_interval_refuses(samples, reason):
    with pytest.raises(ValueError, match=reason):
        statistics.student_interval(np.array(samples))


def test_student_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        interval = statistics.student_interval(rng.normal(1.0, 3.0, size=6))
        covered += interval.low <= 1.0 <= interval.high
    # 95 % of 2000 is 1900 with a standard deviation of 9.7: five of them are allowed either way
    assert abs(covered - 1900) < 50


def test_interquartile_mean_by_hand():
    # eight scores: the two lowest and the two highest go, the mean of 3, 4, 5, 6 stays
    assert statistics.interquartile_mean(np.array([100.0, 1, 2, 3, 4, 5, 6, -50])) == pytest.approx(3.5)
    # five scores: one goes at either end
    assert statistics.interquartile_mean(np.array([0.0, 1, 2, 3, 1000])) == pytest.approx(2.0)


@given(hnp.arrays(float, st.integers(4, 40), elements=st.floats(-1e6, 1e6)))
def test_interquartile_mean_lies_between_the_quartile_scores(scores):
    cut = scores.size // 4
    ordered = np.sort(scores)
    value = statistics.interquartile_mean(scores)
    assert ordered[cut] - 1e-6 <= value <= ordered[scores.size - 1 - cut] + 1e-6


def test_bootstrap_is_stratified():
    # the tasks differ hugely but their runs hardly: resampling across tasks would give a wide interval
    scores = np.stack([np.array([1.0, 1.1, 0.9, 1.0]), np.array([1000.0, 1000.1, 999.9, 1000.0])], axis=1)
    interval = statistics.bootstrap_iqm(scores, rng=np.random.default_rng(0))
    assert interval.value == pytest.approx(500.5, abs=0.1)
    assert interval.high - interval.low < 0.2


def test_bootstrap_agrees_with_scipy_on_a_single_task():
    scores = np.random.default_rng(1).gamma(2.0, 1.0, size=25)
    ours = statistics.bootstrap_iqm(scores, rng=np.random.default_rng(2), resamples=20000)
    theirs = stats.bootstrap(
        (scores,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_performance_profile_by_hand():
    scores = np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])
    profile = statistics.performance_profile(scores, np.array([0.0, 2.0, 4.5, 9.0]))
    assert profile == pytest.approx([1.0, 4 / 6, 2 / 6, 0.0])


def test_probability_of_improvement_by_hand_and_scipy():
    first, second = np.array([1.0, 3.0, 5.0]), np.array([2.0, 3.0])
    # pairs: (1,2)- (1,3)- (3,2)+ (3,3)= (5,2)+ (5,3)+ : 3.5 of 6
    assert statistics.probability_of_improvement(first, second).value == pytest.approx(3.5 / 6)
    u = stats.mannwhitneyu(first, second).statistic
    assert statistics.probability_of_improvement(first, second).value == pytest.approx(u / 6)


def test_probability_of_improvement_interval_holds_the_value():
    rng = np.random.default_rng(5)
    interval = statistics.probability_of_improvement(rng.normal(1, 1, 10), rng.normal(0, 1, 10), rng=rng)
    assert interval.low <= interval.value <= interval.high
    assert interval.high - interval.low > 0.1


def test_probability_of_improvement_refuses_other_tasks():
    with pytest.raises(ValueError, match="2 and 1 tasks"):
        statistics.probability_of_improvement(np.zeros((3, 2)), np.zeros(3))


def test_hypervolume_by_hand():
    # (1, 2) dominates 4 x 2 of the box up to loss 5; (3, 4) adds 2 x 2 on top; (4, 1) is dominated; (9, 9) lies outside
    points = np.array([[3.0, 4.0], [1.0, 2.0], [4.0, 1.0], [9.0, 9.0]])
    assert statistics.hypervolume(points, (5.0, 0.0)) == pytest.approx(4 * 2 + 2 * 2)


@given(hnp.arrays(float, st.tuples(st.integers(1, 8), st.just(2)), elements=st.floats(0, 10)))
def test_hypervolume_grows_with_points(points):
    assert statistics.hypervolume(points, (10.0, 0.0)) >= statistics.hypervolume(points[:-1], (10.0, 0.0)) - 1e-9
