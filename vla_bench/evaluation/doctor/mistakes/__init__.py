"""Plausible mistakes, a module a family: each proposes changes that would undo it.

A proposal changes the policy's card where the card states the convention, else it wraps the policy.
"""

from vla_bench.evaluation.doctor.mistakes.proposal import Patient, Proposal, mistakes

__all__ = ["Patient", "Proposal", "mistakes"]
