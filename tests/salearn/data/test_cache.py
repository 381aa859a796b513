from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.transforms import NormalizeIntensity, ScaleIntensityRange

from salearn.cases import Case, CaseId
from salearn.data import cache as module
from salearn.data.cache import Recipe, VolumeCache, hash_file, image_hash, normalise
from salearn.data.volumes import read_volume, write_labels
from salearn.errors import ConfigError, DataError
from salearn.settings import parse
from salearn.store import Store

IMAGE = np.random.default_rng(0).gamma(2.0, 300.0, (2, 6, 7, 8)).astype(np.float32)
IMAGE[:, :2] = 0


def case_of(*paths: Path) -> Case:
    return Case(id=CaseId("c"), images=paths)


@pytest.mark.parametrize("foreground", [False, True])
def test_zscore_agrees_with_monai(foreground: bool) -> None:
    ours = normalise(IMAGE, Recipe(foreground=foreground))
    monai = NormalizeIntensity(nonzero=foreground, channel_wise=True)(IMAGE)
    np.testing.assert_allclose(ours, np.asarray(monai), atol=1e-5)


def test_a_window_to_the_unit_range_agrees_with_monai() -> None:
    ours = normalise(IMAGE, Recipe(kind="window", window=(100, 900), scale="unit"))
    monai = ScaleIntensityRange(100, 900, 0, 1, clip=True)(IMAGE)
    np.testing.assert_allclose(ours, np.asarray(monai), atol=1e-6)


def test_percentiles_by_hand_and_always_float32() -> None:
    image = np.arange(101, dtype=np.float32).reshape(1, 1, 1, 101)
    recipe = Recipe(kind="percentile", percentiles=(10, 90), scale="unit")
    found = normalise(image, recipe)
    # clipped to 10..90, then (value - 10) / 80
    np.testing.assert_allclose(found[0, 0, 0, [0, 10, 50, 90, 100]], [0, 0, 0.5, 1, 1])
    kinds: list[dict[str, Any]] = [
        {},
        {"kind": "percentile"},
        {"kind": "window", "window": (0, 1000)},
        {"kind": "none"},
        {"scale": "unit", "foreground": True},
    ]
    for keys in kinds:
        assert normalise(IMAGE, Recipe(**keys)).dtype == np.float32


def test_an_image_without_contrast_becomes_zero() -> None:
    for keys in ({}, {"kind": "percentile"}, {"scale": "unit"}, {"foreground": True}):
        assert not normalise(np.full((1, 2, 2, 2), 7, np.float32), parse(Recipe, keys, "")).any()


def test_recipes_that_contradict_themselves_are_refused() -> None:
    for keys in (
        {"kind": "window"},
        {"window": (0, 1)},
        {"kind": "window", "window": (2, 1)},
        {"percentiles": (60, 40)},
        {"kind": "zscor"},
    ):
        with pytest.raises(ConfigError, match=r"data\.recipe"):
            parse(Recipe, keys, "data.recipe")


def test_a_volume_is_decoded_once_and_comes_back_as_a_memory_map(
    tmp_path: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    affine = np.array([[-1, 0, 0, 5], [0, 0, 2.5, 0], [0, 1, 0, 3], [0, 0, 0, 1.0]])
    case = case_of(save(tmp_path / "i.nii.gz", np.moveaxis(IMAGE, 0, 3), affine))
    raw = read_volume(case)
    first = VolumeCache(Store(tmp_path / "store"), Recipe()).open(case)
    monkeypatch.setattr(module, "read_volume", None)
    second = VolumeCache(Store(tmp_path / "store"), Recipe()).open(case)
    for volume in (first, second):
        assert isinstance(volume.image, np.memmap)
        assert not volume.image.flags.writeable
        np.testing.assert_array_equal(volume.image, normalise(raw.image, Recipe()))
        np.testing.assert_array_equal(volume.affine, raw.affine)
        assert volume.spacing == raw.spacing == (1.0, 2.5, 1.0)
        assert volume.source.orientation == "LSA"
        assert volume.source.header == raw.source.header


def test_labels_can_be_written_back_from_a_cached_volume(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    case = case_of(save(tmp_path / "i.nii.gz", IMAGE[0], np.diag([-1.0, 1, 1, 1])))
    volume = VolumeCache(Store(tmp_path / "s"), Recipe()).open(case)
    labels = (volume.image[0] > 1).astype(np.uint8)
    write_labels(tmp_path / "o.nii.gz", labels, volume.source, (1,))
    again = read_volume(case_of(tmp_path / "o.nii.gz"))
    np.testing.assert_array_equal(again.image[0], labels)
    np.testing.assert_array_equal(again.source.affine, volume.source.affine)


def test_the_key_follows_content_recipe_and_code_but_not_the_place(
    tmp_path: Path, save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    one = case_of(save(tmp_path / "a.nii", IMAGE[0]))
    (tmp_path / "b.nii").write_bytes((tmp_path / "a.nii").read_bytes())
    same = case_of(tmp_path / "b.nii")
    cache = VolumeCache(store, Recipe())
    key = cache.key(one)
    assert cache.key(same) == key
    assert image_hash(one) == image_hash(same)
    assert VolumeCache(store, Recipe(foreground=True)).key(one) != key
    assert cache.key(case_of(*one.images, *same.images)) != key
    monkeypatch.setattr(module, "CODE_VERSION", -1)
    assert cache.key(one) != key


def test_files_are_hashed_once_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    first = hash_file(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "file_hash", None)
        assert hash_file(path) == first
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert hash_file(path) != first


def test_a_missing_image_is_a_data_error(tmp_path: Path) -> None:
    cache = VolumeCache(Store(tmp_path), Recipe())
    with pytest.raises(DataError, match=r"gone\.nii"):
        cache.open(case_of(tmp_path / "gone.nii"))


def _open(store: Path, image: Path, log: Path) -> None:
    real = module.read_volume

    def counted(case: Case) -> Any:
        with log.open("a") as handle:
            handle.write("decoded\n")
        return real(case)

    module.read_volume = counted
    VolumeCache(Store(store), Recipe()).open(case_of(image))


def test_two_processes_that_ask_at_once_decode_once(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    image = save(tmp_path / "i.nii", IMAGE[0])
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "store", image, tmp_path / "log")
    workers = [context.Process(target=_open, args=arguments) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert (tmp_path / "log").read_text() == "decoded\n"
