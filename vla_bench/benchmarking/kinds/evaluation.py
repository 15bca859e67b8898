"""An evaluation of the tabletop suite with images: how long 500 episodes of the expert take."""

from vla_bench.benchmarking.figures import Aim, Figure
from vla_bench.benchmarking.measures import Setting, measure
from vla_bench.benchmarking.runs import watch
from vla_bench.tasks import tasks_of

_SUITE, _IMAGE_SIZE, _EPISODES = "tabletop_object", 224, 500
_SAMPLE = 4  # episodes of each task, where the rest is projected
_ROWS = 4  # environments a worker
_AIM = Aim(bound=10.0, better="lower")


@measure("evaluation", f"Evaluation: expert on {_EPISODES} tabletop episodes with images", in_quick=False)
def evaluation(setting: Setting) -> list[Figure]:
    """Return the minutes; with `full`, the whole run is made, otherwise it is projected from the pace of a sample."""
    tasks = len(tasks_of(_SUITE))
    each = _EPISODES // tasks if setting.full else setting.scaled(_SAMPLE)
    first = setting.workers * _ROWS
    minutes, paces = [], []
    for turn in range(1 if setting.full or setting.scale < 1.0 else 2):
        run = watch(
            setting.workspace / str(turn),
            _SUITE,
            (),
            episodes=each,
            workers=setting.workers,
            rows=_ROWS,
            policy="expert",
            image_size=_IMAGE_SIZE,
            seed=turn,
        )
        paces.append(run.pace(0 if setting.full else first))
        minutes.append(run.whole_s / 60.0 if setting.full else _EPISODES / run.episodes_per_minute(first))
    how = "whole, with start-up" if setting.full else f"projected from {tasks * each} episodes without start-up"
    setting.note(f"evaluation: all {tasks} tasks of `{_SUITE}`, two images of {_IMAGE_SIZE} px; {how}.")
    return [
        Figure(
            name="minutes",
            title=f"{_EPISODES} expert episodes with images ({how})",
            unit="min",
            kind="time",
            better="lower",
            turns=tuple(minutes),
            aim=_AIM,
        ),
        Figure(name="pace", title="expert episodes with images", unit="steps/s", kind="time", turns=tuple(paces)),
    ]
