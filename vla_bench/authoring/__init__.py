"""What whoever adds tasks needs: a check of their file, trials of the experts, and the page that shows them."""

from vla_bench.authoring.check import CheckOptions, CheckReport, check_suite
from vla_bench.authoring.problems import Problem

__all__ = ["CheckOptions", "CheckReport", "Problem", "check_suite"]
