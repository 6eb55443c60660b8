"""Transport from noise to data: conditional flow matching and a small denoising diffusion model."""

from __future__ import annotations

from torch import Tensor, nn

from generative.data import Dataset
from generative.diffusion.ddpm import DDPM, cosine_schedule
from generative.diffusion.flow_matching import FlowMatching, conditional_path
from generative.diffusion.networks import TimeField
from generative.registry import Entry
from generative.training import TrainingConfig

__all__ = ["DDPM", "MODELS", "FlowMatching", "TimeField", "conditional_path", "cosine_schedule", "regression_loss"]

_TRAINING = TrainingConfig(steps=4000, batch_size=512, learning_rate=2e-3, average=0.995, evaluate_every=500)


def regression_loss(model: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
    """The model's own regression (`model.loss`): of the velocity, or of the noise."""
    if not isinstance(model, FlowMatching | DDPM):
        raise ValueError(f"{type(model).__name__} has no regression loss; FlowMatching and DDPM have one")
    return model.loss(x, context)


def _flow_matching(data: Dataset) -> nn.Module:
    return FlowMatching(data.features, mean=data.train.mean(0), scale=data.train.std(0))


def _ddpm(data: Dataset) -> nn.Module:
    return DDPM(data.features, mean=data.train.mean(0), scale=data.train.std(0))


MODELS = (
    Entry(
        "flow-matching",
        _flow_matching,
        ("real",),
        FlowMatching.has,
        "arXiv 2210.02747",
        loss=regression_loss,
        training=_TRAINING,
    ),
    Entry("ddpm", _ddpm, ("real",), DDPM.has, "arXiv 2006.11239", loss=regression_loss, training=_TRAINING),
)
