"""Policies: protocol, cards, wrappers and loading. Independent of environments."""

from vla_bench.policies.chunking import OpenLoop, RecedingHorizon, TemporalEnsemble
from vla_bench.policies.loading import PolicySource, find_policy, load_policy, policy_descriptions, policy_names
from vla_bench.policies.policy import EnvironmentConventions, Policy, PolicyBase, PolicyRequirements
from vla_bench.policies.wrappers import FixedBatch

__all__ = [
    "EnvironmentConventions",
    "FixedBatch",
    "OpenLoop",
    "Policy",
    "PolicyBase",
    "PolicyRequirements",
    "PolicySource",
    "RecedingHorizon",
    "TemporalEnsemble",
    "find_policy",
    "load_policy",
    "policy_descriptions",
    "policy_names",
]
