from pathlib import Path

import pytest

from tests.evaluation.tiny_environment import episodes
from tests.results.made_up import described
from vla_bench.evaluation.messages import EpisodeResult, ErrorSource
from vla_bench.evaluation.rollout import FinishedEpisode
from vla_bench.evaluation.run_folder import RunFolder
from vla_bench.evaluation.session import PolicyKeepsFailingError, RunProgress, RunSession
from vla_bench.results.ledger import LEDGER_NAME, read_ledger


def finished(index: int, error_source: ErrorSource = "") -> FinishedEpisode:
    episode = episodes(index + 1)[index]
    if not error_source:
        return FinishedEpisode(episode, EpisodeResult("success", steps=5), 2.0, 1.0)
    error = "Traceback\n  somewhere\nValueError: no eyes"
    return FinishedEpisode(episode, EpisodeResult("error", error, error_source), 2.0, 1.0, attempts=3)


def session(path: Path, heard: list[RunProgress] | None = None, max_errors: int = 3) -> RunSession:
    hear = (lambda progress: None) if heard is None else heard.append
    folder = RunFolder(path)
    for _ in range(2):  # the second session of the run
        folder.start(described("p"))
    return RunSession(folder, total=9, resumed=2, max_errors=max_errors, on_progress=hear)


def test_finished_episodes_are_recorded_with_their_session(tmp_path: Path) -> None:
    heard: list[RunProgress] = []
    made = session(tmp_path, heard)
    made.finish(finished(0))
    made.finish(finished(1, "worker"))
    frame = read_ledger(tmp_path / LEDGER_NAME)
    recorded = frame[["policy", "card_hash", "session"]].drop_duplicates().to_numpy().tolist()
    assert recorded == [["p", described("p").card_hash, 1]]
    assert frame["attempts"].tolist() == [1, 3]
    assert frame["error_source"].tolist() == ["", "worker"]
    assert [progress.done for progress in heard] == [2, 3, 4]
    assert (heard[-1].successes, heard[-1].errors, heard[-1].steps) == (1, 1, 5)


def test_consecutive_policy_errors_stop_the_run(tmp_path: Path) -> None:
    made = session(tmp_path)
    for index, source in enumerate(["policy", "policy", "worker", "policy", "policy", ""]):
        made.finish(finished(index, source))  # type: ignore[arg-type]
    made.finish(finished(6, "policy"))
    made.finish(finished(7, "policy"))
    with pytest.raises(
        PolicyKeepsFailingError, match=r"failed in 3 consecutive episodes.*ValueError: no eyes\..*--max-errors"
    ):
        made.finish(finished(8, "policy"))
    assert len(read_ledger(tmp_path / LEDGER_NAME)) == 9, "all are recorded"
