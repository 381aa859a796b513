from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

HIPPOCAMPUS = Path(__file__).resolve().parents[4] / "shared" / "data" / "Task04_Hippocampus"


@pytest.fixture
def save() -> Callable[..., Path]:
    """Write an array as NIfTI; the affine is the identity unless told."""

    def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def msd(tmp_path: Path, save: Callable[..., Path]) -> Callable[..., Path]:
    """A small MSD data set: 4x5x6 images, masks with values 0, 1, 2."""

    def make(masked: int = 3, unmasked: int = 0, **changes: Any) -> Path:
        root = tmp_path / "msd"
        training = []
        for i in range(masked + unmasked):
            rng = np.random.default_rng(i)
            image, label = f"./imagesTr/c{i}.nii.gz", f"./labelsTr/c{i}.nii.gz"
            save(root / image, rng.normal(100, 20, (4, 5, 6)).astype(np.float32))
            entry = {"image": image}
            if i < masked:
                mask = np.zeros((4, 5, 6), np.uint8)
                mask[1, 1, 1:3], mask[2, 2, 2] = 1, 2
                save(root / label, mask)
                entry["label"] = label
            training.append(entry)
        labels = {"0": "background", "1": "front", "2": "back"}
        content = {"name": "Toy", "labels": labels, "training": training, "test": []} | changes
        (root / "dataset.json").write_text(json.dumps(content))
        return root

    return make


@pytest.fixture
def hippocampus() -> Path:
    if not HIPPOCAMPUS.is_dir():
        pytest.skip("the data set is not beside the repository")
    return HIPPOCAMPUS
