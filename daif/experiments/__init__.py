"""Training, evaluation, comparison and figures; the only part (with the CLI) that knows every package."""
