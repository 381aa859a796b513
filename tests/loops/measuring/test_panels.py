"""Pictures for the report: where they lie, what they show, and that they stop no run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image

from loops.cell import run_cell
from loops.config import parse_run
from loops.measuring import panels
from loops.measuring.panels import GAP, GREYS, SIZE, Shown, Worst, save, worst_panel
from salearn.cases import CaseId
from salearn.data.nifti import Geometry
from salearn.data.volumes import Volume
from salearn.store import read_lines

GRID = Geometry(shape=(20, 24, 10), affine=np.eye(4))


def shown(**changes: Any) -> Shown:
    image = np.random.default_rng(0).normal(size=(20, 24, 10)).astype(np.float32)
    mask = np.zeros((20, 24, 10), np.uint8)
    mask[6:14, 8:16, 3:7] = 1
    mask[6:14, 8:16, 5:7] = 2
    given = {"case": CaseId("a"), "image": image, "spacing": (1.0, 1.0, 2.0), "mask": mask}
    return Shown(**(given | {"labels": np.zeros_like(mask)} | changes))


def test_image_mask_and_prediction_are_three_rows_of_three_planes() -> None:
    sheet = worst_panel(shown())
    step = SIZE + GAP
    assert sheet.shape == (3 * step - GAP, 3 * step - GAP)
    image, mask, prediction = (sheet[k * step : k * step + SIZE] for k in range(3))
    assert image.max() == GREYS  # the gaps between planes, no outline
    assert set(np.unique(mask[mask > GREYS])) == {GREYS + 1, GREYS + 2}
    assert prediction.max() == GREYS


def test_superior_is_up_and_the_scale_is_in_mm() -> None:
    # Class 2 lies above class 1; the box is 8 x 8 x 4 voxels of 1 x 1 x 2 mm: 8 mm along each axis,
    # so twice that is 16 mm in 120 pixels and the outline of 8 mm is 60 pixels high.
    sheet = worst_panel(shown())
    sagittal = sheet[SIZE + GAP : 2 * SIZE + GAP, :SIZE].astype(int)
    rows = {label: np.flatnonzero((sagittal == GREYS + label).any(axis=1)) for label in (1, 2)}
    assert rows[2].max() < rows[1].min()
    assert rows[1].max() - rows[2].min() + 1 == 60


def test_an_empty_mask_and_unannotated_slices_are_drawn_too() -> None:
    empty = np.zeros((20, 24, 10), np.uint8)
    assert worst_panel(shown(mask=empty)).max() == GREYS
    assert worst_panel(shown(mask=np.full_like(empty, 255))).max() == GREYS


def test_a_picture_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(worst_panel(shown()), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    assert {tuple(colour) for colour in pixels.reshape(-1, 3)} >= set(panels.COLOURS[:2])


def offer(worst: Worst, case: str, *dice: float) -> None:
    rows = [{"case": case, "dice": value} for value in dice]
    mask = shown().mask
    volume = Volume(
        image=shown().image[None], spacing=(1.0, 1.0, 2.0), affine=np.eye(4), source=GRID
    )
    worst.offer(rows, volume, mask, mask)


def test_the_lowest_mean_dice_are_kept_and_undefined_cases_left_out(tmp_path: Path) -> None:
    worst = Worst(2)
    for case, dice in {
        "a": (0.9, 0.9),
        "b": (0.1, 0.5),
        "c": (np.nan, 0.2),
        "d": (np.nan,),
    }.items():
        offer(worst, case, *dice)
    assert worst.write(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worst_b.png", "worst_c.png"]


def test_a_picture_that_cannot_be_written_is_said_and_raises_nothing(tmp_path: Path) -> None:
    worst = Worst(1)
    offer(worst, "a", 0.5)
    (tmp_path / "file").write_text("")
    assert "Error" in (worst.write(tmp_path / "file" / "x") or "")


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["volume", "slice"])
def test_a_run_leaves_pictures_of_chosen_units_and_worst_cases(tmp_path: Path, unit: str) -> None:
    def run(name: str, **more: Any) -> Path:
        run_cell(parse_run(tiny.values(tmp_path, unit=unit, out=str(tmp_path / name), **more), "t"))
        return tmp_path / name

    out = run("run")
    for record in read_lines(out / "rounds.jsonl"):
        names = {p.name for p in (out / "panels" / f"round_{record['round']:03d}").iterdir()}
        assert {f"selected_{unit}.png" for unit in record["selected"]} <= names
        assert len([name for name in names if name.startswith("worst_")]) == 2  # of 2 test cases
    again = run("again")  # scores are found in the store, and the pictures with them
    for path in (out / "panels").rglob("*.png"):
        assert (again / path.relative_to(out)).read_bytes() == path.read_bytes()
    bare = run("bare", panels=0)
    assert not (bare / "panels").exists()
    assert (bare / "rounds.jsonl").read_bytes() == (out / "rounds.jsonl").read_bytes()


@pytest.mark.slow
def test_a_fault_in_a_picture_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no picture today")

    monkeypatch.setattr(panels, "_grey", broken)
    assert run_cell(parse_run(tiny.values(tmp_path), "t"))["ran"] == 2
