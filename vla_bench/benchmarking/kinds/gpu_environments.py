"""Environments that draw on a GPU, by number of processes."""

from vla_bench.benchmarking.accelerated import require_drawing_gpu
from vla_bench.benchmarking.figures import Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.processes import Turns
from vla_bench.benchmarking.subjects import ours
from vla_bench.benchmarking.tasks_measured import TABLETOP
from vla_bench.core.machine import usable_cores
from vla_bench.envs.vector.processes import process_variables

_IMAGE_SIZE = 224  # pixels, two cameras


@measure("gpu-environments", "Environment steps/s by number of processes, EGL on the GPU")
def gpu_environments(setting: Setting) -> list[Figure]:
    """Return steps/s of all processes together, for 1, 2, 4, ... processes up to one a core."""
    require_drawing_gpu(setting)
    most = usable_cores()
    subjects = {
        str(number): ours(
            "task",
            f"process {number}",
            task_id=TABLETOP,
            image_size=_IMAGE_SIZE,
            variables={**process_variables(most, number), "MUJOCO_GL": "egl"},
        )
        for number in range(most)
    }
    with Turns(subjects) as turns:
        speeds = {
            count: [
                sum(turn.steps_per_s for turn in turns.together(seconds=setting.seconds, first=count).values())
                for _ in range(setting.turns)
            ]
            for count in counts_to(most)
        }
    return [
        Figure(
            name=f"processes-{count}",
            title=f"{count} process{'es' * (count > 1)}, two cameras of {_IMAGE_SIZE} px",
            unit="steps/s",
            turns=tuple(of_one),
            kind="time",
        )
        for count, of_one in speeds.items()
    ]


def counts_to(most: int) -> list[int]:
    """Return 1, 2, 4, ... and `most`."""
    counts = [1]
    while 2 * counts[-1] < most:
        counts.append(2 * counts[-1])
    return [*counts, most] if most > 1 else counts
