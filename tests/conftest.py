"""Tests draw off screen. MuJoCo reads this once, when whichever test comes first imports it."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.pop("VLA_BENCH_TASKS", None)  # a developer's own tasks are not the package's
