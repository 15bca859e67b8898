"""Tests draw off screen and compute on one thread. MuJoCo and torch read this once, when they are first imported."""

import os

import pytest

from vla_bench.core.process_environment import opengl_backend

if backend := opengl_backend():
    os.environ["MUJOCO_GL"] = backend  # for tests that import MuJoCo directly
os.environ["OMP_NUM_THREADS"] = "1"  # small matrices gain nothing from more: the others wait in a loop
os.environ.pop("VLA_BENCH_TASKS", None)  # a developer's own tasks are not the package's


@pytest.fixture
def processor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that ask for equality to the bit, which GPUs do not give from batch to batch."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
