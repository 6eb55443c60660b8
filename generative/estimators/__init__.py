"""Estimators: gradients of expectations, evidence, messages, distilled posteriors, interventions."""

from generative.estimators.dark_knowledge import DistillationConfig, distil, langevin_step_, predictive
from generative.estimators.evidence import Evidence, importance_evidence
from generative.estimators.gradients import (
    LearnedBaseline,
    RunningBaseline,
    darn,
    darn_sample,
    leave_one_out,
    pathwise,
    score_function,
)
from generative.estimators.intervention import StructuralModel, backdoor_mean, backdoor_stratified
from generative.estimators.message_passing import (
    AmortisedMessage,
    Posterior,
    expectation_propagation,
    quadrature_moments,
    tilted_moments,
)

__all__ = [
    "AmortisedMessage",
    "DistillationConfig",
    "Evidence",
    "LearnedBaseline",
    "Posterior",
    "RunningBaseline",
    "StructuralModel",
    "backdoor_mean",
    "backdoor_stratified",
    "darn",
    "darn_sample",
    "distil",
    "expectation_propagation",
    "importance_evidence",
    "langevin_step_",
    "leave_one_out",
    "pathwise",
    "predictive",
    "quadrature_moments",
    "score_function",
    "tilted_moments",
]
