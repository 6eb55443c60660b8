"""An ensemble evaluated in one pass is what its members are one by one."""

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from world_models.ensemble import Ensemble
from world_models.likelihood import ObservationCodec
from world_models.overshooting_vae import OvershootingVAE, WorldModelConfig

MEMBERS, BATCH, CODE = 3, 5, 4
SPACES = {
    "product": spaces.Dict({"buffer": spaces.Discrete(3), "scores": spaces.Box(0.0, 1.0, (2,))}),
    "image": spaces.Box(0, 255, (4, 4, 3), np.uint8),
}


def _models(space: str = "product", **config: object) -> list[OvershootingVAE]:
    torch.manual_seed(0)
    codec = ObservationCodec(SPACES[space]).double()
    settings = WorldModelConfig(**({"latent_dim": 3, "hidden": (6, 5), "dropout": 0.0} | config))  # type: ignore[arg-type]
    return [OvershootingVAE(codec, CODE, 2, settings).double().eval() for _ in range(MEMBERS)]


def _inputs(*lead: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(*lead, BATCH, 5).double(), torch.rand(*lead, BATCH, CODE).double()


@pytest.mark.parametrize("outcome_head", ["state", "jump"])
def test_one_pass_is_what_the_models_were_one_by_one(outcome_head: str) -> None:
    models = _models(outcome_head=outcome_head)
    before = [copy.deepcopy(model) for model in models]
    ensemble = Ensemble(models)
    (together,) = ensemble.learners
    assert (len(ensemble), ensemble.stacked) == (MEMBERS, MEMBERS)
    o, code = _inputs(MEMBERS)
    states = together.encode(o).mean
    behind = together.transition(states, code)
    jump = together.predict(states, code, behind.mean)
    for i, model in enumerate(before):
        for single in (model, ensemble[i]):
            state = single.encode(o[i]).mean
            torch.testing.assert_close(states[i], state)
            torch.testing.assert_close(behind.stddev[i], single.transition(state, code[i]).stddev)
            alone = single.predict(state, code[i], behind.mean[i])
            torch.testing.assert_close(jump.observation.mean[i], alone.observation.mean)
            torch.testing.assert_close(jump.outcomes.mean[i], alone.outcomes.mean)


def test_a_member_s_gradient_does_not_see_the_others() -> None:
    models = _models()
    before = [copy.deepcopy(model) for model in models]
    (together,) = Ensemble(models).learners
    o, _ = _inputs(MEMBERS)
    together.encode(o).mean.square().sum().backward()
    gradient = dict(together.named_parameters())["encoder.0.weight"].grad
    for i, model in enumerate(before):
        model.encode(o[i]).mean.square().sum().backward()
        torch.testing.assert_close(gradient[i].T, dict(model.named_parameters())["encoder.0.weight"].grad)


def test_members_follow_what_they_learn_together_and_a_copy_does_not() -> None:
    ensemble = Ensemble(_models())
    copied = copy.deepcopy(ensemble)
    o, _ = _inputs()
    before = [member.encode(o).mean for member in ensemble]
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter += 0.1
    for i, mean in enumerate(before):
        assert not torch.allclose(ensemble[i].encode(o).mean, mean)
        torch.testing.assert_close(copied[i].encode(o).mean, mean)
    copied.load_state_dict(ensemble.state_dict())
    torch.testing.assert_close(copied[2].encode(o).mean, ensemble[2].encode(o).mean)
    assert copied[0].codec is copied[1].codec is copied.learners[0].codec


@pytest.mark.parametrize("space", SPACES)
def test_each_member_predicts_and_first_actions_share_its_state(space: str) -> None:
    ensemble = Ensemble(_models(space, max_variance=0.1))
    assert len(ensemble.learners) == (1 if space == "product" else MEMBERS)
    codec = ensemble[0].codec
    o, code = torch.rand(BATCH, codec.size).double(), torch.rand(BATCH, CODE).double()
    torch.manual_seed(1)
    one = ensemble.predict(o, code).mean
    assert one.shape == (MEMBERS, BATCH, codec.size)
    assert not torch.allclose(one[0], one[1], atol=1e-3)
    with torch.no_grad():  # behind this, only the drawn state can differ
        for member in ensemble.learners:
            member.transition_net[-1].bias[..., 3:] = -40.0
    behind = ensemble.predict(o, code.expand(7, BATCH, CODE)).mean
    assert behind.shape == (MEMBERS, 7, BATCH, codec.size)
    torch.testing.assert_close(behind, behind[:, :1].expand_as(behind), atol=1e-3, rtol=0.0)


def test_dropout_is_off_where_a_member_predicts() -> None:
    ensemble = Ensemble([model.train() for model in _models(dropout=0.5)])
    o, _ = _inputs()
    torch.testing.assert_close(ensemble[1].encode(o).mean, ensemble[1].encode(o).mean)
    own = o.expand(MEMBERS, *o.shape)
    (together,) = ensemble.learners
    assert not torch.allclose(together.encode(own).mean, together.encode(own).mean)
    together.eval()
    torch.testing.assert_close(together.encode(own).mean[1], ensemble[1].encode(o).mean)


def test_one_model_stays_as_it_is() -> None:
    model = _models()[0]
    ensemble = Ensemble([model])
    assert ensemble[0] is model is ensemble.learners[0]
    assert (len(ensemble), ensemble.stacked) == (1, 1)
