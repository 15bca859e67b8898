"""Tests draw off screen and compute on one thread. MuJoCo and torch read this once, when they are first imported."""

import os

import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["OMP_NUM_THREADS"] = "1"  # small matrices gain nothing from more: the others wait in a loop
os.environ.pop("VLA_BENCH_TASKS", None)  # a developer's own tasks are not the package's


@pytest.fixture
def processor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that ask for equality to the bit, which GPUs do not give from batch to batch."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
