import pytest
from pydantic import ValidationError

from vla_bench.training.config import OptimizerConfig
from vla_bench.training.trainer import Schedule


def rates(steps, total=100, **options):
    schedule = Schedule(OptimizerConfig(steps=total, learning_rate=1.0, **options), total)
    return [round(schedule.learning_rate_at(step), 3) for step in steps]


def test_courses_after_the_warm_up():
    assert rates((0, 9, 10, 55, 100), warmup_steps=10) == [0.1, 1.0, 1.0, 0.5, 0.0]
    assert rates((0, 9, 10, 55, 100), warmup_steps=10, schedule="linear") == [0.1, 1.0, 1.0, 0.5, 0.0]
    assert rates((32,), warmup_steps=10, schedule="linear") != rates((32,), warmup_steps=10)
    assert set(rates(range(100), warmup_steps=0, schedule="constant")) == {1.0}
    assert rates((10, 100), warmup_share=0.1, final_share=0.2) == [1.0, 0.2]


def test_the_length_of_a_run():
    assert OptimizerConfig().total_steps(7) == 600
    assert OptimizerConfig(steps=30).total_steps(7) == 30
    assert OptimizerConfig(epochs=2.5).total_steps(8) == 20
    assert OptimizerConfig(epochs=0.01).total_steps(8) == 1
    assert [OptimizerConfig().total_warmup(steps) for steps in (600, 100, 5)] == [20, 10, 0]
    assert OptimizerConfig(warmup_share=0.03).total_warmup(1000) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "epochs": 1}, "steps and epochs are both given"),
        ({"warmup_steps": 3, "warmup_share": 0.1}, "warmup_steps and warmup_share are both given"),
        ({"steps": 3, "warmup_steps": 3}, r"warmup_steps must be below steps \(3\)"),
        ({"betas": (0.9, 1.0)}, r"expected two numbers from 0 to below 1"),
    ],
)
def test_what_contradicts_itself_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        OptimizerConfig(**options)
