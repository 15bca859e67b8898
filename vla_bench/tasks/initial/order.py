"""The order in which things can be placed."""

from collections.abc import Sequence

from vla_bench.tasks.initial.registry import initial_relations
from vla_bench.tasks.task import Relation


def references(relation: Relation) -> tuple[str, ...]:
    """Return the objects by which the relation places its first."""
    named = zip(initial_relations[relation.name].parameters, relation.arguments, strict=True)
    return tuple(argument for number, (name, argument) in enumerate(named) if number and name != "region")


def in_order(relations: Sequence[Relation]) -> tuple[Relation, ...]:
    """Return the relations so that each comes after those that place what it refers to; otherwise as they are.

    Raises ValueError where things are placed by each other, or by a thing that nothing places.
    """
    waiting, done = list(relations), list[Relation]()
    while waiting:
        placed = {relation.arguments[0] for relation in done}
        ready = next((relation for relation in waiting if placed.issuperset(references(relation))), None)
        if ready is None:
            stuck = " and ".join(f"`{relation}`" for relation in waiting)
            missing = {name for relation in waiting for name in references(relation)} - placed
            raise ValueError(f"{stuck}: {', '.join(sorted(missing))} would have to be placed before")
        waiting.remove(ready)
        done.append(ready)
    return tuple(done)
