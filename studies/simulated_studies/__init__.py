"""Simulations of policies with known success rates; `statistics_simulation.py` runs them."""
