"""World models: generative models of what the environment will show."""
