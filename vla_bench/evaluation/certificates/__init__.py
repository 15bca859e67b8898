"""Which episodes the expert solves: found out once, kept, and used by every run that comes to the same episodes."""

from vla_bench.evaluation.certificates.certifying import Certified, Certifier
from vla_bench.evaluation.certificates.store import CertificateStore

__all__ = ["CertificateStore", "Certified", "Certifier"]
