"""Tools for authors of tasks: checks of task files, expert trials and the task page."""

from vla_bench.authoring.check import CheckOptions, CheckReport, check_suite
from vla_bench.authoring.definition import Problem

__all__ = ["CheckOptions", "CheckReport", "Problem", "check_suite"]
