"""Checks of instances: the probes (which act), the verdict (pure rise and fall) and the runner."""
