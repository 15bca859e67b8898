"""Runs policies in environments: the plan, worker processes, the one rollout loop; writes the ledger."""

from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import RunOptions, RunProgress, RunReport, run_evaluation

__all__ = ["EvaluationProtocol", "RunOptions", "RunProgress", "RunReport", "run_evaluation"]
