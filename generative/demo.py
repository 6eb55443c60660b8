"""Train any registered model on any data set that it takes, and leave its figures, pictures and parameters in a folder.

This is what `daif generative train` and `daif generative list` call.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from generative.data import NAMES, Dataset, load
from generative.pictures import save_curve, save_density, save_images, save_points
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
        tensorboard: whether to write events.

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
    source = [data.train, data.labels["train"]] if chosen.labelled else [data.train]
    held_out = [data.validation, data.labels["validation"]] if chosen.labelled else [data.validation]
    history = fit(
        model,
        source,
        config=config,
        loss=chosen.loss,
        validate=lambda model: evaluate(model, *held_out, loss=chosen.validation or chosen.loss),
        log_dir=out if tensorboard else None,
    )
    has = model().has
    nats = evaluate(model, data.validation, loss=negative_bound) if has & {"log_prob", "elbo"} else None
    out.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), out / "model.pt")
    files = [out / "model.pt", *_pictures(model, chosen, data, history, out, seed)]
    figures = {
        "model": name,
        "data": data_name,
        "seed": seed,
        "nats": nats,
        "exact": "log_prob" in has,
        "floor": data.floor,
        "best_loss": history.best,
        "best_step": history.best_step,
        "seconds": history.seconds,
        "training": asdict(config),
    }
    (out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    return Demo(name, data_name, seed, nats, data.floor, history, (out / "figures.json", *files))


def _pictures(
    model: torch.nn.Module, chosen: Entry, data: Dataset, history: History, out: Path, seed: int
) -> list[Path]:
    """Write what can be drawn: samples, a 2-D density, the curve of the loss."""
    title = f"{chosen.name} on {data.name}"
    given = model()
    files = [
        save_curve(
            out / "loss.png", history.steps, {"training": history.train, "validation": history.validation}, title
        )
    ]
    if "sample" in given.has:
        with seeded(seed):
            samples: Tensor = given.sample((2000 if data.image_shape is None else 50,))
        if data.image_shape is not None:
            files.append(save_images(out / "samples.png", samples, data.image_shape, title))
        elif data.features == 2:
            files.append(save_points(out / "samples.png", samples, data.train, title))
    if "log_prob" in given.has and data.features == 2 and data.kind == "real":
        files.append(save_density(out / "density.png", model, data, title))
    return files


def list_models() -> list[dict[str, str]]:
    """Return one row a model: its name, the data sets that it takes, what it has and where it is defined."""
    kinds = {"real": [], "binary": [], "levels": []}  # type: dict[str, list[str]]
    for name in NAMES:
        kinds["levels" if name == "digits" else "binary" if name == "digits-binary" else "real"].append(name)
    rows = []
    for each in entries().values():
        names = [name for kind in each.kinds for name in kinds[kind] if name.startswith("digits") or not each.images]
        rows.append(
            {"model": each.name, "data": ", ".join(names), "has": ", ".join(sorted(each.has)), "source": each.source}
        )
    return rows
