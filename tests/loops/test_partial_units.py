"""Slice and patch budgets end to end: only what was annotated is learned from."""

import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny

from loops.cell import run_cell
from loops.config import parse_run
from loops.progress import Progress
from loops.sfr.given import Cases, Given
from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId, UnitId, parse_unit, unit_box
from salearn.data.phantoms import PhantomSettings, write_phantoms
from salearn.oracle import Oracle
from salearn.store import read_lines

pytestmark = pytest.mark.slow
UNITS: dict[str, dict[str, Any]] = {
    "slice": {"unit": "slice", "strategy": "entropy", "learner": "mean_teacher"},
    "patch": {
        "unit": "patch",
        "patches": {"size": [24, 24, 24]},
        "strategy": "typiclust",
        "learner": "sfr_mean_teacher",
    },
}


def settings(folder: Path, root: Path, **changes: Any) -> dict[str, Any]:
    values = tiny.values(folder, budget=[2, 3], max_unlabeled=2, panels=1, **changes)
    values["data"] = {k: v for k, v in values["data"].items() if k != "phantom_cases"}
    values["data"] |= {"root": str(root), "split": {"test": 1, "validation": 0, "seed": 0}}
    return values


def scramble(root: Path, out: Path, axis: int) -> None:
    """Change every voxel of the pool's masks that no annotated unit holds."""
    lines = [line for line in read_lines(out / "queries.jsonl") if line["purpose"] == "annotate"]
    tested = {row["unit"] for row in read_lines(out / "queries.jsonl") if row["purpose"] == "test"}
    for path in sorted((root / "labelsTr").glob("*.nii.gz")):
        case = path.name.removesuffix(".nii.gz")
        if case in tested:
            continue
        image = nib.as_closest_canonical(nib.load(path))
        labels = np.asarray(image.dataobj).astype(np.uint8)
        poison = (labels + 1 + np.arange(labels.shape[0])[:, None, None]) % 3
        for line in lines:
            if parse_unit(UnitId(line["unit"]))[0] == case:
                box = unit_box(UnitId(line["unit"]), axis)
                poison[box] = labels[box]
        assert (poison != labels).any()
        original = nib.load(path)
        back = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("RAS"), nib.io_orientation(original.affine)
        )
        turned = nib.orientations.apply_orientation(poison.astype(np.uint8), back)
        nib.save(nib.Nifti1Image(turned, original.affine, original.header), path)


@pytest.mark.parametrize("unit", UNITS)
def test_masks_outside_of_the_annotated_units_change_nothing(unit: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 4, PhantomSettings())
    config = parse_run(settings(tmp_path, root, **UNITS[unit]), "test")
    result = run_cell(config)
    out = tmp_path / "run"
    records = read_lines(out / "rounds.jsonl")
    assert [record["num_labeled"] for record in records] == [2, 3]
    assert all("@" in chosen for record in records for chosen in record["selected"])
    stages = {"sam", "student", "teacher"} if unit == "patch" else {"student", "teacher"}
    assert {row["stage"] for row in result["final"]} == stages
    assert len(list((out / "panels" / "round_001").glob("selected_*.png"))) == 1
    before = (out / "rounds.jsonl").read_bytes()
    weights = (out / "models" / "round_001" / "student" / "student.safetensors").read_bytes()

    scramble(root, out, axis=1)
    for folder in ("run", "store"):
        shutil.rmtree(tmp_path / folder)
    run_cell(config)
    assert (out / "rounds.jsonl").read_bytes() == before
    again = (out / "models" / "round_001" / "student" / "student.safetensors").read_bytes()
    assert again == weights


def test_a_partly_labeled_case_is_also_unlabeled_and_shows_no_mask_there(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 4, PhantomSettings())
    values = settings(tmp_path, root, **UNITS["slice"]) | {"max_unlabeled": None}
    bench = Workbench(parse_run(values, "test"), Progress(enabled=False))
    pool = bench.whole_pool()
    case = bench.split.pool[0]
    slices = [unit for unit in pool.unlabeled if parse_unit(unit)[0] == case]
    bench.oracle.annotate(slices[20:22], round=0)
    some = pool.after(slices[20:22])
    cases = Cases(bench)
    assert cases.labeled_cases(Given(pool=some, round=0)) == [case]
    assert case in cases.unlabeled(Given(pool=some, round=0))
    mask = bench.labeled(case).mask
    assert mask is not None
    assert set(np.flatnonzero((mask != IGNORE).any(axis=(0, 2)))) == {20, 21}
    assert bench.unlabeled(case).mask is None
    whole = pool.after(slices)
    bench.oracle.annotate(slices, round=1)
    assert case not in cases.unlabeled(Given(pool=whole, round=1))
    assert IGNORE not in np.unique(bench.oracle.mask(case))
    paid = bench.oracle.spent()
    other = Oracle(bench._mask, tmp_path / "other.jsonl", bench.config.cost, 1)
    other.annotate([UnitId(case)], round=0)
    assert paid["voxels"] == other.spent()["voxels"]  # slice by slice is the whole, once


def test_people_are_shown_where_to_draw_and_only_that_is_taken(tmp_path: Path) -> None:
    from loops.annotation.annotate import annotate
    from loops.annotation.query import query

    root = tmp_path / "data"
    write_phantoms(root, 4, PhantomSettings())
    values = settings(tmp_path, root, **UNITS["patch"]) | {"strategy": "random"}
    config = tmp_path / "run.yaml"
    config.write_text(__import__("yaml").safe_dump(values))
    asked = query(config, tmp_path / "w", 2)
    for case in {parse_unit(UnitId(unit))[0] for unit in asked["units"]}:
        path = tmp_path / "w" / "masks" / f"{case}.nii.gz"
        region = nib.load(tmp_path / "w" / "regions" / path.name)
        wanted = np.asarray(region.dataobj) == 1
        assert wanted.sum() >= 24**3
        drawn = nib.Nifti1Image(np.full(wanted.shape, 2, np.uint8), region.affine)
        nib.save(drawn, path)  # drawn everywhere, though only the region is asked
    result = annotate(tmp_path / "w")
    assert result["accepted"] == asked["units"]
    assert any("outside of what was asked" in line["problem"] for line in result["warnings"])
    bench = Workbench(parse_run(values, "test"), Progress(enabled=False))
    case = parse_unit(UnitId(asked["units"][0]))[0]
    mask = bench.oracle.mask(CaseId(case))
    inside = np.zeros(mask.shape, bool)
    for unit in asked["units"]:
        if parse_unit(UnitId(unit))[0] == case:
            inside[unit_box(UnitId(unit), 1)] = True
    assert (mask[inside] == 2).all()
    assert (mask[~inside] == IGNORE).all()
