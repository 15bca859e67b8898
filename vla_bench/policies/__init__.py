"""Who acts: the `Policy` protocol, the cards that describe policies, and what loads them. Knows no environment."""

from vla_bench.policies.batching import FixedBatch
from vla_bench.policies.chunking import OpenLoop, RecedingHorizon, TemporalEnsemble
from vla_bench.policies.loading import PolicySource, find_policy, load_policy, policy_descriptions, policy_names
from vla_bench.policies.policy import EnvironmentConventions, Policy, PolicyBase, PolicyRequirements

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
