"""The MONAI Label app on disk: importable, next images by strategy, first masks by the student."""

import importlib.util
import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

import monailabel_stand_in as stand_in
import nibabel as nib
import numpy as np
import pytest
import tiny

from loops.annotation.annotate import annotate
from loops.annotation.export_app import export_app
from loops.annotation.query import query
from loops.cell import run_cell
from loops.config import parse_run
from loops.verbs.export import export
from salearn.errors import ConfigError
from salearn.store import read_lines

pytestmark = pytest.mark.slow


def app_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As MONAI Label finds it: the class of main.py with MONAILabelApp among its bases.

    The real package is used where it is installed, else the stand-in.
    """
    if not stand_in.installed():
        for name, module in stand_in.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("main", folder / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if "MONAILabelApp" in [base.__name__ for base in cls.__bases__]
    ]
    assert len(found) == 1
    return found[0]


def test_the_app_serves_next_images_and_first_masks_and_its_labels_come_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_cell(parse_run(tiny.values(tmp_path, budget=[1], strategy="random"), "test"))
    run, studies = tmp_path / "run", tmp_path / "w" / "images"
    asked = query(run, tmp_path / "w", 2, copy=True)["units"]
    written = export_app(run, tmp_path / "app")
    assert written["strategies"][:2] == ["worklist", "random"]
    assert {"entropy", "dkd", "hybrid"} <= set(written["strategies"])
    assert not any("oracle" in name for name in written["strategies"])
    assert {"main.py", "salearn.json", "README.md"} <= set(written["files"])

    app = app_class(tmp_path / "app", monkeypatch)(str(tmp_path / "app"), str(studies), {})
    assert app.labels == {"anterior": 1, "posterior": 2}
    store = stand_in.Datastore({path.name[:-7]: str(path) for path in studies.iterdir()})
    following = app._strategies["worklist"]
    first = following({}, store)
    assert (first["id"], first["unit"], first["round"]) == (asked[0], asked[0], 1)
    store.labeled.add(asked[0])
    assert following({}, store)["id"] == asked[1]
    store.labeled.add(asked[1])
    assert following({}, store) is None

    others = stand_in.Datastore({f"phantom_{i:03d}": "" for i in range(9)})
    seen = app._strategies["random"]({"label_tag": "final"}, others)["id"]
    again = app._strategies["random"]({}, others)
    assert again["id"] == seen == asked[0]  # same round, same seed: what query asked first
    assert len(list((tmp_path / "app" / "next").glob("random_round_001.json"))) == 1
    taken = {line["unit"] for line in read_lines(run / "queries.jsonl")}
    assert seen not in taken

    student = app._infers["student"]
    assert student.is_valid()
    file, params = student({"image": store.get_image_uri(asked[0])})
    drawn, image = nib.load(file), nib.load(studies / f"{asked[0]}.nii.gz")
    assert drawn.shape == image.shape
    np.testing.assert_allclose(drawn.affine, image.affine)
    assert params["label_names"] == app.labels
    shutil.rmtree(Path(file).parent)

    final = studies / "labels" / "final"
    final.mkdir(parents=True)
    for case in asked:
        image = nib.load(studies / f"{case}.nii.gz")
        labels = np.zeros(image.shape, np.uint8)
        labels[2:5, 2:5, 2:5] = 1
        nib.save(nib.Nifti1Image(labels, image.affine), final / f"{case}.nii.gz")
    assert annotate(tmp_path / "w", masks=final)["complete"]


def test_only_a_run_can_be_exported_and_export_takes_further_targets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run folder"):
        export_app(tmp_path, tmp_path / "app")
    assert [command.callback.__name__ for command in export.registered_commands if command.callback]
