"""Generative models: the parts that world models are built from, each proved right against an oracle."""
