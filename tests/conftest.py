"""Settings of the test process, made before MuJoCo, torch and typer are first imported and read them.

Rendering is off screen, arithmetic uses one thread, and nothing depends on the user's environment variables.
"""

import os

import pytest

from vla_bench.core.process_environment import opengl_backend

# Own tasks and caches of the user, a forced color output or width of messages, the user's git, wandb and launcher.
_USER_VARIABLES = (
    *("VLA_BENCH_TASKS", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"),
    *("TERMINAL_WIDTH", "COLUMNS", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "RANK", "LOCAL_RANK", "WORLD_SIZE"),
)
for name in _USER_VARIABLES:
    os.environ.pop(name, None)
os.environ["NO_COLOR"] = "1"
os.environ["TZ"] = "UTC"
if backend := opengl_backend():
    os.environ["MUJOCO_GL"] = backend  # for tests that import MuJoCo directly
os.environ["OMP_NUM_THREADS"] = "1"  # small matrices gain nothing from more: the others wait in a loop


@pytest.fixture
def processor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the GPU from torch in tests of bit-equal results, which GPUs do not give from batch to batch."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
