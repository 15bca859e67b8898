"""Simulated studies of policies whose success rates are known; `statistics_simulation.py` runs them."""
