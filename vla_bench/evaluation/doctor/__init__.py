"""The convention doctor: finds wrong conventions in a policy's card by comparing its actions with the expert's."""

from vla_bench.evaluation.doctor.examination import Diagnosis, DoctorOptions, Finding, diagnose, examine

__all__ = ["Diagnosis", "DoctorOptions", "Finding", "diagnose", "examine"]
