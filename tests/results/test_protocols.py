from pathlib import Path

import pytest

from tests.results.made_up import described, episodes, made_run
from vla_bench.results.errors import IncomparableRunsError
from vla_bench.results.notes import conditions_of
from vla_bench.results.protocols import (
    full_protocol_differences,
    interface_text,
    merged_protocol,
    protocol_differences,
    protocol_line,
)
from vla_bench.results.run_info import Numerics
from vla_bench.results.runs import read_comparable_runs, read_run

LIFT = {"horizon": 200, "wait_steps": 0, "success_steps": 5}
INTERFACE = {
    "cameras": ["agentview"],
    "image_size": 96,
    "depth": False,
    "chunk": {"execution": "open_loop", "steps": 2},
}
PROTOCOL = {
    "rendering": "fast",
    "robot": "panda",
    "tasks": {"robosuite.lift": LIFT, "robosuite.stack": {**LIFT, "horizon": 300}},
    "policy_interface": INTERFACE,
}


def test_a_protocol_reads_in_a_line() -> None:
    assert protocol_line(PROTOCOL, "robosuite") == (
        "Protocol: rendering fast, robot panda, horizon 200 to 300, wait steps 0, success steps 5"
    )
    assert interface_text(PROTOCOL) == "agentview at 96 pixels; open loop steps 2"
    assert interface_text({"policy_interface": {"cameras": []}}) == "no images; every action that is returned"


def test_what_a_policy_sees_and_executes_is_its_own_and_the_rest_must_be_equal() -> None:
    other = {**PROTOCOL, "policy_interface": {"cameras": ["wrist"]}}
    assert protocol_differences(PROTOCOL, other) == []
    assert full_protocol_differences(PROTOCOL, other)[0].startswith("protocol.policy_interface.cameras")
    faithful = {**PROTOCOL, "rendering": "faithful"}
    assert protocol_differences(PROTOCOL, faithful) == ['protocol.rendering: "fast", then "faithful"']


def test_only_the_rules_of_tasks_that_both_have_are_compared() -> None:
    fewer = {**PROTOCOL, "tasks": {"robosuite.lift": LIFT}}
    assert protocol_differences(PROTOCOL, fewer) == []
    longer = {**PROTOCOL, "tasks": {"robosuite.lift": {**LIFT, "horizon": 500}}}
    assert protocol_differences(PROTOCOL, longer) == ["protocol.tasks.robosuite.lift.horizon: 200, then 500"]
    assert merged_protocol(fewer, PROTOCOL)["tasks"] == PROTOCOL["tasks"]


def test_runs_under_different_protocols_are_refused_and_the_field_is_named(tmp_path: Path) -> None:
    first = made_run(tmp_path / "a", episodes("s"), protocol=PROTOCOL)
    second = made_run(tmp_path / "b", episodes("s", policy="b"), protocol={**PROTOCOL, "robot": "sawyer"})
    with pytest.raises(IncomparableRunsError, match=r'different protocols: protocol.robot: "panda", then "sawyer"'):
        read_comparable_runs([first, second])


def test_conditions_stand_under_the_tables_of_a_suite(tmp_path: Path) -> None:
    made_run(tmp_path / "a", episodes("s"), protocol=PROTOCOL)
    made_run(tmp_path / "b", episodes("s", policy="b"), protocol=PROTOCOL)
    exact = Numerics(device="cpu", batch_shape=4, bit_equal=True)
    described("b", protocol=PROTOCOL).model_copy(update={"numerics": exact}).write(tmp_path / "b")
    made_run(tmp_path / "c", episodes("s", policy="c"), card={"kind": "factory"}, protocol=PROTOCOL)
    own = described("c", card={"kind": "factory"}, protocol=PROTOCOL)
    own.model_copy(update={"numerics": exact}).write(tmp_path / "c")
    protocol, interface, ledger = conditions_of([read_run(tmp_path / name) for name in "abc"])["robosuite"]
    assert protocol == protocol_line(PROTOCOL, "robosuite")
    assert interface == "Observations and actions: expert, b, c (agentview at 96 pixels; open loop steps 2)"
    assert ledger == (
        "Identical ledger for any workers, batch and interruption: expert (not recorded), b (yes), "
        "c (if its own code is deterministic: seeded, on a CPU, without state from other episodes)"
    )
