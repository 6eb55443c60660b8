"""Do two samples come from one distribution? Tests with calibrated p-values, and density ratios by classification."""

from generative.two_sample.equality import TestResult, classifier_test, energy_test, mmd_test, permutation_test
from generative.two_sample.ratio import (
    DensityRatio,
    expected_calibration_error,
    logistic_ratio,
    quadratic_features,
    ratio_loss,
)

__all__ = [
    "DensityRatio",
    "TestResult",
    "classifier_test",
    "energy_test",
    "expected_calibration_error",
    "logistic_ratio",
    "mmd_test",
    "permutation_test",
    "quadratic_features",
    "ratio_loss",
]
