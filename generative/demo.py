"""Train any registered model on any data set that it takes, and leave its figures, pictures and parameters in a folder.

This is what `daif generative train` and `daif generative list` call.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from generative.adversarial.modes import mode_report
from generative.data import IMAGES, KINDS, VOLUMES, Dataset, load
from generative.divergences import energy_distance
from generative.pictures import save_curve, save_density, save_field, save_images, save_points, show_pictures
from generative.registry import Entry, build, entries, entry
from generative.training import History, evaluate, fit, negative_bound, seeded


@dataclass(frozen=True)
class Demo:
    """What a training left."""

    model: str
    """Name of the model."""
    data: str
    """Name of the data set."""
    seed: int
    """Seed of parameters, batches and samples."""
    nats: float | None
    """Mean −log p (or its bound) over the validation part; None where the model has neither."""
    floor: float | None
    """Entropy of the true density in nats, where it is known."""
    history: History
    """The training."""
    files: tuple[Path, ...]
    """Files written."""


def train_demo(
    name: str,
    data_name: str,
    out_dir: str | Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    device: torch.device | str = "cpu",
    tensorboard: bool = True,
) -> Demo:
    """Train a model, and write `figures.json`, `model.pt`, samples, the density and the curve.

    Args:
        name: a name of `generative.registry.names()`.
        data_name: a name of `generative.data.NAMES`.
        out_dir: folder for the files; TensorBoard events go there too.
        seed: of parameters, batches and samples.
        steps: gradient steps; None for the model's own setting.
        device: where to train.
        tensorboard: whether to write events: figures as scalars while it trains, the pictures at its end.

    Raises:
        ValueError: unknown name, a model that cannot take the data, or bad settings.
    """
    out = Path(out_dir)
    chosen = entry(name)
    data = load(data_name, seed=seed).to(device)
    config = replace(chosen.training, seed=seed)
    if steps is not None:
        config = replace(config, steps=steps, evaluate_every=max(1, min(config.evaluate_every, steps // 5)))
    with seeded(seed):
        model = build(name, data).to(device)
    source = chosen.training_data(data)
    log_dir = out if tensorboard else None
    if chosen.train is not None:
        monitor = partial(sample_figures, data=data, seed=seed)
        history = chosen.train(model, source, config=config, log_dir=log_dir, monitor=monitor)
    else:
        held_out = [data.validation, data.labels["validation"]] if chosen.labelled else [data.validation]
        history = fit(
            model,
            source,
            config=config,
            loss=chosen.loss,
            validate=lambda model: evaluate(model, *held_out, loss=chosen.validation or chosen.loss),
            log_dir=log_dir,
        )
    has = model().has
    nats = evaluate(model, data.validation, loss=negative_bound) if has & {"log_prob", "elbo"} else None
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "model.pt")
    pictures = _pictures(model, chosen, data, history, out, seed)
    if tensorboard:
        show_pictures(out, pictures, history.steps[-1])
    figures = {
        "model": name,
        "data": data_name,
        "seed": seed,
        "nats": nats,
        "exact": "log_prob" in has,
        "floor": data.floor,
        "samples": sample_figures(model, data, seed),
        "best_loss": history.best if math.isfinite(history.best) else None,
        "best_step": history.best_step,
        "seconds": history.seconds,
        "training": asdict(config),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return Demo(name, data_name, seed, nats, data.floor, history, (out / "figures.json", out / "model.pt", *pictures))


def _pictures(
    model: torch.nn.Module, chosen: Entry, data: Dataset, history: History, out: Path, seed: int
) -> list[Path]:
    """Write what can be drawn: samples, a 2-D density, a 2-D critic, the curves of the losses and of the samples."""
    title = f"{chosen.name} on {data.name}"
    given = model()
    players = {name: values for name, values in history.curves.items() if name in ("critic", "generator")}
    losses = players or {"training": history.train, "validation": history.validation}
    files = [save_curve(out / "loss.png", history.steps, losses, title)]
    quality = {name: values for name, values in history.curves.items() if name not in losses}
    if quality:
        files.append(save_curve(out / "quality.png", history.steps, quality, title, ylabel="modes, share, nats"))
    score = getattr(model, "score", None)
    if score is not None and data.features == 2:
        with seeded(seed):
            files.append(save_field(out / "critic.png", score, data, f"critic of {title}"))
    if "sample" in given.has:
        with seeded(seed):
            samples: Tensor = given.sample((2000 if data.kind == "real" else 50,))
        if data.volume_shape is not None:  # a row of slices for each of the first shapes
            depth, height, width = data.volume_shape
            slices = samples[:8].reshape(-1, height * width)
            files.append(save_images(out / "samples.png", slices, (1, height, width), title, columns=depth))
        elif data.image_shape is not None:
            files.append(save_images(out / "samples.png", samples, data.image_shape, title))
        elif data.features == 2:
            files.append(save_points(out / "samples.png", samples, data.train, title))
    if "log_prob" in given.has and data.features == 2 and data.kind == "real":
        files.append(save_density(out / "density.png", model, data, title))
    return files


@torch.no_grad()
def sample_figures(model: torch.nn.Module, data: Dataset, seed: int = 0) -> dict[str, float]:
    """Return what samples say of a model of real data: energy distance to the validation part, and its modes covered.

    The modes (their number, the high-quality share, the reverse KL in nats) are there for data of separate modes, over
    2,500 samples; nothing for a model without samples.
    """
    given = model()
    if "sample" not in given.has or data.kind != "real":
        return {}
    with seeded(seed):
        samples = given.sample((2500,))
    figures = {"energy distance": float(energy_distance(samples[:1000], data.validation[:1000]))}
    modes = getattr(data.density, "modes", None)
    if modes is not None:
        report = mode_report(samples, modes, data.density.noise)  # type: ignore[union-attr]
        figures |= {
            "modes": float(report.modes),
            "high-quality share": float(report.high_quality),
            "reverse KL": float(report.reverse_kl),
        }
    return figures


def list_models() -> list[dict[str, str]]:
    """Return one row a model: its name, the data sets that it takes, what it has and where it is defined."""
    rows = []
    for each in entries().values():
        shaped = IMAGES if each.images else VOLUMES if each.volumes else KINDS.keys()
        names = [name for name, kind in KINDS.items() if kind in each.kinds and name in shaped]
        rows.append(
            {"model": each.name, "data": ", ".join(names), "has": ", ".join(sorted(each.has)), "source": each.source}
        )
    return rows
