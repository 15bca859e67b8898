from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import Observation
from vla_bench.policies import EnvironmentConventions, find_policy, load_policy
from vla_bench.policies.policy import PolicyOutputError
from vla_bench.policies.user import PolicyCreationError

OBSERVATION: Observation = {"images": {}, "proprioception": np.zeros(0, np.float32), "instruction": "reach"}
MODULE = """
import numpy as np
from vla_bench.policies import PolicyRequirements

class Simple:
    def act(self, observations):
        return np.zeros((len(observations), 7))

class Whole:
    requirements = PolicyRequirements(cameras=("wrist",), image_size=64)
    def __init__(self, checkpoint=None):
        self.checkpoint, self.told = checkpoint, []
    def connect(self, conventions):
        self.told.append(conventions.image_size)
    def reset(self, instructions, *, rows, seeds):
        self.told.append((list(instructions), list(rows), list(seeds)))
    def act(self, observations, *, rows):
        return np.full((len(rows), 3, 7), rows[0] / 10)

class Loose:
    def reset(self, instructions, **_):
        self.instructions = instructions
    def act(self, observations, **_):
        return np.zeros((len(observations) + 1, 7))

class Idle:
    pass

not_callable = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_own.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))  # where tracebacks are written
    (tmp_path / "temporary").mkdir()


def test_a_class_with_nothing_but_act_will_do() -> None:
    policy = load_policy("users_own:Simple")
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 224, ()))
    policy.reset(["reach"], rows=[0], seeds=[0])
    assert policy.act([OBSERVATION] * 2, rows=[0, 1]).shape == (2, 1, 7)
    assert policy.requirements.cameras == ("agentview", "wrist")


def test_a_class_with_the_whole_protocol_gets_all_of_it() -> None:
    policy = load_policy("users_own:Whole")
    with pytest.raises(ConventionError, match="64 pixels, but they have 224"):
        policy.connect(EnvironmentConventions(("wrist",), 224, ()))
    policy.connect(EnvironmentConventions(("wrist",), 64, ()))
    policy.reset(["reach"], rows=[5], seeds=[11])
    assert policy.act([OBSERVATION], rows=[5]).tolist() == np.full((1, 3, 7), np.float32(0.5)).tolist()
    assert policy._policy._policy.told == [64, (["reach"], [5], [11])]  # type: ignore[attr-defined]


def test_a_checkpoint_is_passed_to_a_factory_that_takes_one(tmp_path: Path) -> None:
    policy = load_policy("users_own:Whole", tmp_path)
    assert policy._policy._policy.checkpoint == tmp_path  # type: ignore[attr-defined]
    with pytest.raises(VlaBenchError, match="users_own:Simple has no parameter `checkpoint`"):
        load_policy("users_own:Simple", tmp_path)


def test_wrong_shapes_are_an_error() -> None:
    policy = load_policy("users_own:Loose")
    policy.reset(["reach"], rows=[0], seeds=[0])
    with pytest.raises(PolicyOutputError, match=r"shape \(2, 7\) for 1 observations"):
        policy.act([OBSERVATION], rows=[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Simple", "No module 'no_such_module' for policy 'no_such_module:Simple'"),
        ("users_own.py:Simple", "Scripts are named without their suffix: users_own:Simple"),
        ("users_own.py", "users_own.py is a script. Name its factory, as in users_own:make"),
        ("users_own:Simpel", "has no factory 'Simpel'. It has: Idle, Loose"),
        ("users_own:not_callable", "has no factory 'not_callable'"),
        ("users_own:Idle", "users_own:Idle made a Idle without an `act` method"),
    ],
)
def test_what_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(VlaBenchError, match=message):
        load_policy(name)


def test_a_module_that_fails_to_import_something_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "users_broken.py").write_text("import missing_library\n")
    said = (
        r"users_broken:Policy: the module raised ModuleNotFoundError: No module named 'missing_library' \(.*, line 1, "
    )
    with pytest.raises(PolicyCreationError, match=said):
        load_policy("users_broken:Policy")


def test_a_module_that_is_no_python_says_where(tmp_path: Path) -> None:
    (tmp_path / "users_typo.py").write_text("def make(:\n")
    with pytest.raises(
        PolicyCreationError,
        match=r"users_typo\.py\", line 1 def make\(: \^ SyntaxError: invalid syntax\. Full traceback: ",
    ):
        load_policy("users_typo:make")


def test_a_constructor_that_raises_says_so_in_one_message_and_keeps_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "users_costly.py").write_text(
        "class Costly:\n    def __init__(self): raise RuntimeError('out of\\n  memory')\n"
    )
    said = r"^users_costly:Costly: the factory raised RuntimeError: out of memory \(.*costly\.py, line 2, in __init__\)"
    with pytest.raises(PolicyCreationError, match=said) as caught:
        load_policy("users_costly:Costly")
    written = Path(str(caught.value).partition("Full traceback: ")[2])
    assert written.parent == tmp_path / "temporary"
    assert written.read_text().startswith("Traceback (most recent call last)")
    assert "raise RuntimeError" in written.read_text()


def test_a_user_s_policy_is_named_as_it_was_given() -> None:
    assert find_policy("users_own:Simple").name == "users_own:Simple"


@pytest.mark.parametrize("where", ["act", "reset", "connect", "padding_group", "the factory"])
def test_an_exit_is_an_error_that_says_where(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method = "__init__" if where == "the factory" else where
    act = "" if where == "act" else "    def act(self, observations): return [[0.0] * 7] * len(observations)\n"
    module = f"quits_in_{method.strip('_')}"
    (tmp_path / f"{module}.py").write_text(
        f"import sys\n\nclass Quits:\n    def {method}(self, *_, **__): sys.exit('enough')\n{act}"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(VlaBenchError, match=rf"{module}:Quits called sys\.exit\('enough'\) in {where}"):
        policy = load_policy(f"{module}:Quits")
        policy.connect(EnvironmentConventions(("agentview", "wrist"), 224, ()))
        policy.reset(["go"], rows=[0], seeds=[0])
        policy.padding_group("go")
        policy.act([{}], rows=[0])  # type: ignore[typeddict-item]
