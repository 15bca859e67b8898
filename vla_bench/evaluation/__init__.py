"""Runs policies in environments: the plan, worker processes, the one rollout loop; writes the ledger.

Import from the modules: `run` (`run_evaluation`, `RunOptions`), `protocol`. Workers load what they need and no more.
"""
