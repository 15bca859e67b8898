from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.training.demonstrations import SELECTION, demonstration_file, finetune_config
from vla_bench.core.errors import ConventionError
from vla_bench.demos.editing import split_file
from vla_bench.training.dataset import load_demonstrations
from vla_bench.training.finetune import finetune
from vla_bench.training.validation import require_disjoint


def test_a_file_divided_once_is_apart(tmp_path: Path) -> None:
    path = demonstration_file(tmp_path)
    require_disjoint(*(load_demonstrations([path], SELECTION, subset) for subset in ("train", "valid")))


def test_files_that_are_divided_differently_are_refused_before_training(tmp_path: Path) -> None:
    config = finetune_config(tmp_path)
    other = tmp_path / "other.hdf5"
    split_file(config.demos[0], other, seed=1)
    with pytest.raises(
        ConventionError, match=r"demo_\d is in the validation set and, as the same episode as .*, in the training set"
    ):
        finetune(config.model_copy(update={"demos": (config.demos[0], other)}))
    assert not config.output.exists()


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    path = demonstration_file(tmp_path)
    with pytest.raises(ValidationError, match="is named twice"):
        finetune_config(tmp_path, demos=(path, tmp_path / "." / path.name))
