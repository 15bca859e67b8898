"""Fixtures that begin open or turned on."""

from vla_bench.tasks.initial.registry import InitialRelation, initial_relations


class Opened(InitialRelation):
    """A drawer or a door begins open; what does not stand under `initial` begins closed."""

    parameters = ("part",)
    arranges_joint = True


initial_relations.register(Opened(), name="opened")


class TurnedOn(InitialRelation):
    """A knob begins turned on."""

    parameters = ("part",)
    arranges_joint = True


initial_relations.register(TurnedOn(), name="turned_on")
