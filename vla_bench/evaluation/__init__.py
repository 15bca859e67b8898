"""Evaluation of policies in environments: plans, worker processes, the rollout loop, and runs recorded in a ledger.

Import from the modules: `run` (`run_evaluation`, `RunOptions`) and `protocol`. Workers import no more than they need.
"""
