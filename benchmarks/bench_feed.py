"""Feeding crops of left-atrium size: a memory map against gzip HDF5 and MONAI's cache.

h5py is a development extra; without it its row is left out and the reason is said.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Other, Row, check, compare, emit, lone_row, one_thread

CASES = 4
VOLUME = (190, 142, 88)  # the median left-atrium volume of the literature's files
PATCH = (112, 112, 80)
BATCH = 4
Batch = tuple[np.ndarray, np.ndarray]


def write_cases(folder: Path) -> None:
    """Smooth images in 64ths, so that gzip shrinks them as it does real ones, with a mask."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    for index in range(CASES):
        smooth = gaussian_filter(rng.normal(size=VOLUME).astype(np.float32), 2)
        image = np.round(smooth / smooth.std() * 64).astype(np.float32) / 64
        mask = (image > 1).astype(np.uint8)
        np.save(folder / f"{index}.npy", image[None])
        np.save(folder / f"{index}_mask.npy", mask)
        if importlib.util.find_spec("h5py"):
            write_h5(folder / f"{index}.h5", image, mask)


def write_h5(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    """As the public left-atrium files are."""
    import h5py  # type: ignore[import-untyped]

    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=image, compression="gzip")
        file.create_dataset("label", data=mask, compression="gzip")


@dataclass
class Places:
    """The same cases and corners for every arm that starts with the same seed."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def draw(self) -> tuple[list[int], list[tuple[int, int, int]]]:
        room = np.array(VOLUME) - np.array(PATCH) + 1
        cases = self.rng.integers(0, CASES, BATCH).tolist()
        corners = self.rng.integers(0, room, (BATCH, 3)).tolist()
        return cases, [(int(x), int(y), int(z)) for x, y, z in corners]


def mapped(folder: Path) -> list[Any]:
    from salearn.cases import CaseId
    from salearn.data.patches import Example

    def array(name: str) -> np.ndarray:
        found: np.ndarray = np.load(folder / name, mmap_mode="r")
        return found

    return [
        Example(case_id=CaseId(str(i)), image=array(f"{i}.npy"), mask=array(f"{i}_mask.npy"))
        for i in range(CASES)
    ]


def ours(folder: Path) -> Callable[[], Batch]:
    """Crops cut out of memory maps."""
    from salearn.data.patches import gather

    examples, places = mapped(folder), Places()

    def batch() -> Batch:
        cases, corners = places.draw()
        crops = gather([examples[case] for case in cases], corners, PATCH)
        return crops.image.numpy(), crops.mask.numpy()

    return batch


def by_h5(folder: Path) -> Callable[[], Batch]:
    """A whole file opened and unpacked for each crop, as the references' data set does."""
    import h5py
    import torch

    places = Places()

    def one(case: int, corner: tuple[int, int, int]) -> tuple[Any, Any]:
        with h5py.File(folder / f"{case}.h5", "r") as file:
            image, mask = file["image"][:], file["label"][:]
        x, y, z = (slice(a, a + p) for a, p in zip(corner, PATCH, strict=True))
        label = torch.from_numpy(mask[x, y, z].astype(np.int64))
        return torch.from_numpy(image[x, y, z][None].copy()), label

    def batch() -> Batch:
        images, masks = zip(*map(one, *places.draw()), strict=True)
        return torch.stack(images).numpy(), torch.stack(masks).numpy()

    return batch


def by_monai(folder: Path) -> Callable[[], Batch]:
    """CacheDataset and DataLoader in this process; MONAI draws its own corners."""
    from monai.data import CacheDataset, DataLoader
    from monai.transforms import Compose, EnsureTyped, LoadImaged, RandSpatialCropd

    keys = ["image", "label"]
    items = [
        {"image": str(folder / f"{i}.npy"), "label": str(folder / f"{i}_mask.npy")}
        for i in range(CASES)
    ]
    steps = [
        LoadImaged(keys=keys, reader="NumpyReader"),
        WithChannel(),
        EnsureTyped(keys=keys),
        RandSpatialCropd(keys=keys, roi_size=PATCH, random_size=False),
    ]
    data = CacheDataset(items, Compose(steps), num_workers=0, progress=False)
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=0)

    def batch() -> Batch:
        found = next(iter(loader))
        return found["image"].numpy(), found["label"].numpy()

    return batch


class WithChannel:
    """A channel in front of the label, which the file has not."""

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"label": item["label"][None]}


def anonymous_mib() -> float:
    """Memory that belongs to this process alone (what every further process would need again)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/smaps_rollup has no Anonymous")


def copies(folder: Path) -> list[Row]:
    """What four volumes cost each process, beside the page cache that all share."""
    made = []
    for name, make in (("memory maps", ours), ("MONAI CacheDataset", by_monai)):
        before = anonymous_mib()
        kept = make(folder)
        kept()
        grown = round(anonymous_mib() - before, 1)
        made.append(lone_row("feed", f"{name}: memory of each process", 1, 0.0, grown))
        del kept
    return made


def rows() -> list[Row]:
    """Batches of four crops with masks; then the memory of a process."""
    what = f"{BATCH} crops 112x112x80 with masks of {CASES} volumes 190x142x88"
    with one_thread(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cases(folder)
        others = [Other(name="MONAI CacheDataset + DataLoader", run=by_monai(folder))]
        if importlib.util.find_spec("h5py"):
            check("feed: first batch", ours(folder)(), by_h5(folder)(), 0.0)
            gzip = Other(name="gzip HDF5, whole file for each crop", run=by_h5(folder), tolerance=0)
            others.insert(0, gzip)
        else:
            print("feed: no row against gzip HDF5; pip install h5py", file=sys.stderr)
        found = compare("feed", what, ours(folder), others, 5)
        return [*found, *(copies(folder) if sys.platform == "linux" else [])]


if __name__ == "__main__":
    emit(rows())
