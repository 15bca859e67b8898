"""Certificates of the episodes that the expert solves: computed once, stored, and shared by all runs."""

from vla_bench.evaluation.certificates.certifier import CertifiedEpisodes, Certifier
from vla_bench.evaluation.certificates.store import CertificateStore

__all__ = ["CertificateStore", "CertifiedEpisodes", "Certifier"]
