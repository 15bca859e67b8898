"""Image quality satisfies the bounds in docs/rendering.md."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import vla_bench

_ROOT = Path(vla_bench.__file__).parent.parent


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rendering_quality", _ROOT / "studies" / "rendering_quality.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _bounds(engine: str) -> dict[str, tuple[float, float]]:
    """Return the lowest PSNR [dB] and SSIM of each quality for an engine, as stated in docs/rendering.md."""
    page = (_ROOT / "docs" / "rendering.md").read_text(encoding="utf-8")
    rows = re.findall(rf"^\| `{engine}` at `(\w+)` \| ([\d.]+) dB \| ([\d.]+) \|$", page, flags=re.MULTILINE)
    return {quality: (float(psnr_db), float(ssim)) for quality, psnr_db, ssim in rows}


@pytest.mark.parametrize("task_id", ["tabletop_object.red_cube_in_basket", "robosuite.door"])
def test_images_satisfy_the_stated_bounds(quality: ModuleType, task_id: str) -> None:
    bounds = _bounds(task_id.split(".")[0].split("_")[0])
    assert set(bounds) == {"fast", "faithful"}
    for comparison in quality.compare(quality.Scene(task_id), 224, repeats=1):
        psnr_db, ssim = bounds[comparison.quality]
        assert comparison.psnr_db[0] >= psnr_db, comparison
        assert comparison.ssim[0] >= ssim, comparison
        if task_id.startswith("robosuite"):
            assert comparison.faces[0] < comparison.faces[1] / 4


def test_psnr_and_ssim(quality: ModuleType) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    gray = np.full_like(image, 100)
    assert quality.psnr_db(image, image) == float("inf")
    assert quality.psnr_db(gray + 1, gray) == pytest.approx(48.13, abs=0.01)  # 20 log10 255
    assert quality.ssim(image, image) == pytest.approx(1.0)
    assert quality.ssim(gray + 1, gray) == pytest.approx((2 * 100 * 101 + 6.5025) / (100**2 + 101**2 + 6.5025))
    assert quality.ssim(255 - image, image) < 0


def test_rows_of_an_earlier_page_are_kept(quality: ModuleType, tmp_path: Path) -> None:
    scene = quality.Scene("tabletop_pick.pick_red_cube")
    rows = [
        quality.Comparison(scene, "fast", size, (psnr_db, psnr_db), (0.9, 0.9), (1, 2), (1.0, 2.0))
        for size, psnr_db in ((224, 20.0), (256, 21.0), (224, 30.0))
    ]
    page = tmp_path / "page.md"
    page.write_text(quality.report(rows[:2], command="first"), encoding="utf-8")
    again = quality.report(rows[2:], command="again", existing=quality._rows_of(page))
    assert [line.split("|")[3:6] for line in again.splitlines() if line.startswith("| `")] == [
        [" 224 ", " fast ", " 30.0, 30.0 "],
        [" 256 ", " fast ", " 21.0, 21.0 "],
    ]
    assert "1 other rows are from an earlier run" in again
