"""Distribution heads where single precision is short of digits."""

import torch
from torch.distributions import ContinuousBernoulli

from generative.distributions import unit_interval


def test_the_variance_on_the_unit_interval_is_that_of_double_precision() -> None:
    logits = torch.linspace(-12.0, 12.0, 200_001, dtype=torch.float64).unsqueeze(-1)
    exact = ContinuousBernoulli(logits=logits, validate_args=False).variance
    single = ContinuousBernoulli(logits=logits.float(), validate_args=False).variance
    assert float(single.min()) < 0.0, "torch's closed form cancels; once it does not, the class here can go"
    torch.testing.assert_close(unit_interval(logits.float()).variance.double(), exact, atol=1e-4, rtol=0.0)
    torch.testing.assert_close(unit_interval(logits).variance, exact, atol=1e-5, rtol=0.0)
    assert unit_interval(logits.float()).expand((3, 200_001)).variance.shape == (3, 200_001, 1)
