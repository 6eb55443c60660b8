"""Distribution heads that stand in for torch's own: where single precision is short of digits, or values are read."""

import torch
from torch.distributions import ContinuousBernoulli, OneHotCategoricalStraightThrough, kl_divergence

from generative.distributions import categorical, unit_interval


def test_the_variance_on_the_unit_interval_is_that_of_double_precision() -> None:
    logits = torch.linspace(-12.0, 12.0, 200_001, dtype=torch.float64).unsqueeze(-1)
    exact = ContinuousBernoulli(logits=logits, validate_args=False).variance
    single = ContinuousBernoulli(logits=logits.float(), validate_args=False).variance
    assert float(single.min()) < 0.0, "torch's closed form cancels; once it does not, the class here can go"
    torch.testing.assert_close(unit_interval(logits.float()).variance.double(), exact, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(unit_interval(logits).variance, exact, atol=1e-5, rtol=0.0)
    assert unit_interval(logits.float()).expand((3, 200_001)).variance.shape == (3, 200_001, 1)


def test_the_one_hot_categorical_is_torch_s_own_and_reads_no_values() -> None:
    logits, others = torch.randn(4, 3), torch.randn(4, 3)
    ours, torchs = categorical(logits), OneHotCategoricalStraightThrough(logits=logits)
    value = torch.eye(3)[torch.tensor([0, 2, 1, 1])]
    torch.testing.assert_close(ours.log_prob(value), torchs.log_prob(value))
    torch.testing.assert_close(ours.entropy(), torchs.entropy())
    torch.testing.assert_close(ours.mean, torchs.mean)
    other = OneHotCategoricalStraightThrough(logits=others)
    torch.testing.assert_close(kl_divergence(ours, categorical(others)), kl_divergence(torchs, other))
    draws = []
    for distribution in (ours, torchs):
        torch.manual_seed(0)
        draws.append(distribution.rsample(torch.Size([5])))
    torch.testing.assert_close(*draws)
    torch.testing.assert_close(ours.expand((2, 4)).log_prob(value), torchs.log_prob(value).expand(2, 4))
    assert categorical(torch.empty(4, 3, device="meta")).rsample().shape == (4, 3)
