"""Environments of the project; importing this package registers them with Gymnasium."""

from envs.registration import register_all

register_all()
