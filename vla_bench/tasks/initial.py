"""What a task may say of its start: where things stand, and how far the joints of fixtures are open."""

from dataclasses import dataclass

from vla_bench.core.registry import Registry


@dataclass(frozen=True)
class InitialRelation:
    """A relation that may stand under `initial`. Its first argument is what it arranges, once at most."""

    parameters: tuple[str, ...]
    arranges_joint: bool = False  # of a fixture or one of its parts; otherwise it says where an object stands


initial_relations: Registry[InitialRelation] = Registry("initial relation")
initial_relations.register(InitialRelation(("item", "region")), name="in_region")
initial_relations.register(InitialRelation(("part",), arranges_joint=True), name="opened")
