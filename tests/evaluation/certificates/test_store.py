"""Certificates are kept for as long as what they are about stays the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.certificates.store import CertificateStore, CertificateSubject
from vla_bench.results.certificates import Certificate, add_certificates, read_certificates

SUBJECT = CertificateSubject("tabletop_pick", "pick_red_cube", "layout=1", "panda", "as it is now")


def _certificate(index: int, *, solved: bool = True, error: str = "") -> Certificate:
    episode = EpisodeIdentity(SUBJECT.suite, SUBJECT.task, index, 0, SUBJECT.variant)
    return Certificate(episode, f"scene {index}", "physics", solved, 40, SUBJECT.variant, error)


def test_a_certificate_is_valid_until_its_subject_changes(tmp_path: Path) -> None:
    made = [_certificate(0), _certificate(1, solved=False)]
    with CertificateStore(tmp_path / "certificates.sqlite") as store:
        store.add(SUBJECT, made, 1.0, "2026-11-25")
    with CertificateStore(tmp_path / "certificates.sqlite") as store:
        assert store.certificates(SUBJECT, seed=0) == made
        assert store.last_date() == "2026-11-25"
        assert store.certificates(SUBJECT, seed=1) == []
        assert store.certificates(replace(SUBJECT, fingerprint="as it was"), seed=0) == []
        assert store.certificates(replace(SUBJECT, robot="ur5e"), seed=0) == []


def test_certificates_with_errors_are_not_stored(tmp_path: Path) -> None:
    with CertificateStore(tmp_path / "certificates.sqlite") as store:
        store.add(SUBJECT, [_certificate(0, solved=False, error="Traceback")], 1.0, "2026-11-25")
        assert store.certificates(SUBJECT, seed=0) == []


def test_a_file_of_another_kind_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, and long enough to be distinguished from an empty one" * 20)
    with pytest.raises(VlaBenchError, match=r"notes.txt is not a certificate file: .* Delete it, or choose another"):
        CertificateStore(path)
    assert path.read_text().startswith("not a database")


def test_the_csv_keeps_the_certificates_of_other_measurements(tmp_path: Path) -> None:
    path = tmp_path / "certificates.csv"
    add_certificates(path, [_certificate(0), _certificate(1)], [_certificate(0).episode])
    add_certificates(path, [_certificate(1, solved=False), _certificate(2)], [_certificate(2).episode])
    table = read_certificates(path)
    assert table["episode_index"].tolist() == [0, 1, 2]
    assert table["solved"].tolist() == [True, False, True]
    assert table["used"].tolist() == [True, False, True]
    with pytest.raises(VlaBenchError, match="`vla-bench robustness` writes it"):
        read_certificates(tmp_path / "none.csv")
