"""Wrappers for the project's environments and any other Gymnasium environment."""

from envs.wrappers.delayed_reward import DelayedReward
from envs.wrappers.flatten import FlatFloat32
from envs.wrappers.history import HistoryFrames
from envs.wrappers.preference_score import PreferenceScore

__all__ = ["DelayedReward", "FlatFloat32", "HistoryFrames", "PreferenceScore"]
