"""What a task may say of its start: where things stand, and how far the joints of fixtures are open.

A new relation is one registered class in a module of this package. Directions are those of the `agentview` camera's
image, which looks back at the robot: left is where y falls, in front is nearer to the camera, where x grows.
"""

from vla_bench.tasks.initial.layout import Area, Footprint, Layout, Place, Spot
from vla_bench.tasks.initial.order import in_order
from vla_bench.tasks.initial.registry import InitialRelation, Placing, initial_relations

__all__ = [
    "Area",
    "Footprint",
    "InitialRelation",
    "Layout",
    "Place",
    "Placing",
    "Spot",
    "in_order",
    "initial_relations",
]
