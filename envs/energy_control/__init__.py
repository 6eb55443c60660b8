"""The energy-controlled workstation: parallel machines behind a buffer, switched on and off to save energy."""
