"""Items of robosuite's scenes: parts, pegs, a door's joints and dirt."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.robosuite.simulation import RobosuiteSimulation
from vla_bench.experts import make_expert
from vla_bench.tasks import get_task


def _simulation(name: str, **objects: str) -> RobosuiteSimulation:
    task = get_task(f"robosuite.{name}")
    simulation = RobosuiteSimulation(replace(task, objects={**task.objects, **objects}), EnvOptions(cameras=()))
    simulation.reset(np.random.default_rng(0))
    return simulation


@pytest.fixture(scope="module")
def nut() -> Iterator[RobosuiteSimulation]:
    made = _simulation("nut_assembly_square", other_peg="peg_for:RoundNut")
    yield made
    made.close()


def test_a_part_is_where_its_site_is(nut: RobosuiteSimulation) -> None:
    handle = nut.world.position_world("nut_handle")
    assert np.allclose(handle, nut.data.site("SquareNut_handle_site").xpos)
    assert np.linalg.norm(handle - nut.world.position_world("nut")) == pytest.approx(0.054, abs=1e-3)
    geometry = nut.world.geometry("nut_handle")
    assert geometry.support_radius_m == pytest.approx(0.015875, abs=1e-4)  # half the handle's width
    assert geometry.grasp_yaw_symmetry_rad == pytest.approx(np.pi)


def test_the_origin_of_a_peg_is_its_top(nut: RobosuiteSimulation) -> None:
    assert nut.world.position_world("peg") == pytest.approx((0.23, 0.1, 0.95))
    assert nut.world.geometry("peg").grasp_yaw_symmetry_rad == pytest.approx(np.pi / 2)
    assert nut.world.geometry("other_peg").grasp_yaw_symmetry_rad == 0.0  # round


def test_grasp_symmetries_follow_from_the_shapes() -> None:
    made = _simulation("pick_place_bread", milk="Milk", cereal="Cereal", can="Can")
    symmetries = {name: made.world.geometry(name).grasp_yaw_symmetry_rad for name in ("bread", "milk", "cereal", "can")}
    made.close()
    assert symmetries == {"bread": np.pi / 2, "milk": np.pi / 2, "cereal": np.pi, "can": 0.0}


def test_a_door_has_a_hinge_and_a_latch() -> None:
    made = _simulation("door")
    hinge, latch = made.world.joints("door")
    assert (hinge.name, latch.name) == ("hinge", "latch")
    assert hinge.position == latch.position == 0.0
    assert hinge.open_from == 0.3  # robosuite's own check
    assert np.allclose(hinge.axis_world, (0, 0, 1))
    assert np.allclose(latch.handle_position_world, made.world.position_world("door_handle"))
    made.data.joint("Door_hinge").qpos[0] = 0.31
    made.set_state(made.state())
    assert made.world.joints("door")[0].position == 0.31
    assert made.succeeded()
    made.close()


def test_dirt_is_what_has_not_been_wiped() -> None:
    made = _simulation("wipe")
    expert = make_expert(get_task("robosuite.wipe"))
    expert.reset(made.world, np.random.default_rng(0))
    left = [len(made.world.dirt_world("dirt"))]
    for _ in range(45):
        made.step(expert.act(made.world))
        left.append(len(made.world.dirt_world("dirt")))
        assert left[-1] == 100 - len(made._env.wiped_markers)
    assert left[0] == 100
    assert 0 < left[-1] < 100
    assert (np.diff(left) <= 0).all()
    assert np.allclose(made.world.dirt_world("dirt")[:, 2], made.world.position_world("dirt")[2], atol=2e-3)
    made.reset(np.random.default_rng(1))
    assert len(made.world.dirt_world("dirt")) == 100
    made.close()


@pytest.mark.parametrize(
    ("name", "asset", "message"),
    [
        ("lift", "part:cube_handle", r"No site or geom of this scene named 'cube_handle'"),
        ("lift", "dirt:table", r"No dirt in robosuite's Lift named 'table'"),
        ("lift", "bin:bin1", r"No bin of robosuite's Lift named 'bin1'"),
        ("lift", "pegfor:cube", r"No kind of asset named 'pegfor'\. Did you mean 'peg_for'"),
    ],
)
def test_an_unknown_asset_is_named(name: str, asset: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        _simulation(name, thing=asset)
