"""Pick an item up and hold it."""

from vla_bench.core.types import World
from vla_bench.experts.grasps import carried_yaw, grasp_pose
from vla_bench.experts.motion import CLOSE, Pose, action_towards
from vla_bench.experts.skills.pick import Pick
from vla_bench.experts.skills.skill import Action, skills
from vla_bench.tasks.task import Goal

_LIFT_M = 0.12


@skills.named("lifted")
class Lift:
    """Pick an item up and hold it."""

    def __init__(self, goal: Goal) -> None:
        (item,) = goal.arguments
        self._pick = Pick(item)

    def act(self, world: World) -> tuple[Action, str]:
        """Pick, then raise."""
        if not self._pick.holds(world):
            return self._pick.act(world)
        target = grasp_pose(world, self._pick.item).position_world.copy()
        rest_m = world.initial_position_world(self._pick.item)[2]
        target[2] = rest_m + world.geometry(self._pick.item).grasp_height_m + _LIFT_M
        return action_towards(world, Pose(target, carried_yaw(world, self._pick.item)), CLOSE), "lift"
