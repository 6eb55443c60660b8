"""Several world models of one kind: samples of the parameters θ, which learn in one pass."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from generative.nn import EnsembleLinear, EnsembleMember
from world_models.likelihood import ObservationDistribution
from world_models.overshooting_vae import OvershootingVAE


class Ensemble(nn.Module):
    """World models of one size, each a sample of θ; a sequence of them.

    The members' affine maps are stacked, so that one pass evaluates, and one step teaches, all of them. A single model,
    and models with convolutions or a flow, which are not stacked, stay as they are.

    Args:
        models: the members as they start, at least one.
    """

    def __init__(self, models: Sequence[OvershootingVAE]) -> None:
        super().__init__()
        self.learners: tuple[OvershootingVAE, ...] = tuple(models)
        """What learns: all members together, (members, ...), or each by itself."""
        self._members = self.learners
        if len(models) > 1 and models[0].stackable:
            self.learners = (_together(models),)
            self._members = tuple(_member(self.learners[0], i) for i in range(len(models)))
        self._registered = nn.ModuleList(self.learners)

    def __len__(self) -> int:
        """Number of members."""
        return len(self._members)

    def __getitem__(self, index: int) -> OvershootingVAE:
        """One member."""
        return self._members[index]

    def __iter__(self) -> Iterator[OvershootingVAE]:
        """All members."""
        return iter(self._members)

    @property
    def stacked(self) -> int:
        """Number of members that one learner holds."""
        return len(self._members) // len(self.learners)

    def predict(self, observation: Tensor, code: Tensor) -> ObservationDistribution:
        """õ_{t+H} by each member, from its own draws of s̃_t and s̃_{t+H}.

        Normalised observations (B, O) and codes (..., B, P) -> a distribution of batch shape (members, ..., B); the
        draw of s̃_t is the same for all of `...`.
        """
        if self.stacked == 1:
            outputs = torch.stack([_decoded(model, observation, code) for model in self])
        else:
            own = (observation.expand(len(self), *observation.shape), code.expand(len(self), *code.shape))
            outputs = _decoded(self.learners[0], *own)
        return self[0].observation(outputs)


def _decoded(model: OvershootingVAE, observation: Tensor, code: Tensor) -> Tensor:
    """The decoder's output (..., B, parameters) behind a jump from observations ([members,] B, O)."""
    s_t = model.draw_state(observation, code)
    return model.decoder(model.transition(s_t, code).rsample())


def _copy(model: OvershootingVAE) -> OvershootingVAE:
    return copy.deepcopy(model, {id(model.codec): model.codec})


def _together(models: Sequence[OvershootingVAE]) -> OvershootingVAE:
    """A model whose every affine map is an `EnsembleLinear` of the models' maps."""
    together = _copy(models[0])
    for name, module in models[0].named_modules():
        if isinstance(module, nn.Linear):
            maps = [one for model in models if isinstance(one := model.get_submodule(name), nn.Linear)]
            together.set_submodule(name, EnsembleLinear.of(maps))
    return together


def _member(together: OvershootingVAE, index: int) -> OvershootingVAE:
    """A model that shares the parameters of one member; it predicts and never learns, so its dropout is off."""
    member = _copy(together)
    for name, module in together.named_modules():
        if isinstance(module, EnsembleLinear):
            member.set_submodule(name, EnsembleMember(module, index))
    return member.eval()
