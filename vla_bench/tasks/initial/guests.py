"""Things that a perturbation brings: they stand wherever there is room."""

from vla_bench.tasks.initial.registry import InitialRelation, initial_relations


class Guest(InitialRelation):
    """An object that is put beside the others after these have been placed, without changing where they stand."""

    parameters = ("item",)


initial_relations.register(Guest(), name="guest")
