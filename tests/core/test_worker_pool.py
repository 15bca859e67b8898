"""A pool of workers: outcomes of jobs, whatever happens to their workers."""

from pathlib import Path

import pytest

from tests.core.worker_functions import Squares, no_work
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.worker_pool import JobPool, run_jobs


def test_every_job_is_answered_even_if_a_worker_dies_once(tmp_path: Path) -> None:
    jobs = [(number % 2, number) for number in range(8)]
    assert dict(run_jobs(jobs, 2, Squares(tmp_path / "died"))) == {number: number**2 for number in range(8)}
    assert (tmp_path / "died").exists()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (13, r"A worker died of exit status 3 in job 13, for the second time"),
        (21, r"^Job 21 is impossible\.$"),
        (22, r"(?s)^Traceback.*ZeroDivisionError: in job 22"),
    ],
)
def test_a_job_that_cannot_be_done_is_an_error(tmp_path: Path, job: int, message: str) -> None:
    with pytest.raises(VlaBenchError, match=message):
        list(run_jobs([(None, job)], 1, Squares(tmp_path / "died")))


def test_an_error_while_the_work_is_prepared_is_reported() -> None:
    with pytest.raises(VlaBenchError, match=r"^There is no work\.$"):
        list(run_jobs([(None, 1)], 1, no_work))


def test_a_pool_runs_several_series_of_jobs(tmp_path: Path) -> None:
    with JobPool(2, Squares(tmp_path / "died")) as pool:
        assert dict(pool.run([(None, 1), (None, 2)])) == {1: 1, 2: 4}
        assert dict(pool.run([(None, 3)])) == {3: 9}
