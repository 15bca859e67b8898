"""The convention doctor: which plausible mistake in a policy's card would bring its actions nearer to the expert's."""

from vla_bench.evaluation.doctor.consultation import DoctorOptions, consult
from vla_bench.evaluation.doctor.examination import Diagnosis, Finding, examine

__all__ = ["Diagnosis", "DoctorOptions", "Finding", "consult", "examine"]
