"""Environments of the project; importing this package registers them with Gymnasium."""
