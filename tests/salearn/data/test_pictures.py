"""PNG and JPEG data sets: pixels, orientation, formats, check, results at the input's size."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from salearn.cases import Case, CaseId
from salearn.data.cache import Recipe, normalise
from salearn.data.checks import check, render
from salearn.data.formats import DataSource, read_dataset
from salearn.data.nifti import read_geometry
from salearn.data.references import one_kind
from salearn.data.volumes import read_mask, read_volume, result_name, write_labels
from salearn.errors import DataError
from salearn.store import write_json

# Two rows, three columns: the first row is on top.
ROWS = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


def case(path: Path) -> Case:
    return Case(id=CaseId(path.stem), images=(path,))


def save(path: Path, array: np.ndarray, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return path


def test_columns_run_along_x_and_the_first_row_is_on_top(tmp_path: Path) -> None:
    volume = read_volume(case(save(tmp_path / "a.png", ROWS)))
    # y points up: column 0 read from the bottom is 4, 1.
    assert volume.image[0, :, :, 0].tolist() == [[4, 1], [5, 2], [6, 3]]
    assert volume.spacing == (1, 1, 1)
    assert volume.source.shape == (3, 2, 1)
    assert read_geometry(tmp_path / "a.png", "a")[0].ras_shape == (3, 2, 1)


@pytest.mark.parametrize("top", [200, 60_000])
def test_labels_return_to_a_png_of_the_input_s_size(tmp_path: Path, top: int) -> None:
    image = save(tmp_path / "a.png", ROWS.astype(np.uint8 if top < 256 else np.uint16))
    volume = read_volume(case(image))
    mask = save(tmp_path / "m.png", np.where(ROWS > 3, top, 0).astype(np.uint16))
    labels = read_mask(mask, "a", (top,), volume)
    assert labels[:, :, 0].tolist() == [[1, 0]] * 3  # the lower row, y = 0
    out = tmp_path / "out" / result_name(case(image))
    write_labels(out, labels, volume.source, (top,))
    assert np.asarray(Image.open(out)).tolist() == [[0, 0, 0], [top] * 3]
    with pytest.raises(ValueError, match=r"written as \.png"):
        write_labels(tmp_path / "a.jpg", labels, volume.source, (1,))


def test_gray_in_colour_files_palettes_alpha_and_one_bit(tmp_path: Path) -> None:
    gray = np.stack([ROWS] * 3, axis=2)
    assert read_volume(case(save(tmp_path / "g.png", gray))).image.shape == (1, 3, 2, 1)
    colour = gray.copy()
    colour[0, 0] = (10, 20, 30)
    image = read_volume(case(save(tmp_path / "c.png", colour))).image
    assert image.shape == (3, 3, 2, 1)
    assert image[:, 0, 1, 0].tolist() == [10, 20, 30]
    clear = np.concatenate([colour, np.full((2, 3, 1), 9, np.uint8)], axis=2)
    np.testing.assert_array_equal(read_volume(case(save(tmp_path / "t.png", clear))).image, image)
    luma = normalise(image, Recipe(kind="none", color="gray"))
    # 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 2.99 + 11.74 + 3.42
    assert luma[0, 0, 1, 0] == pytest.approx(18.15)
    assert normalise(image, Recipe(kind="none")).shape[0] == 3
    indexed = Image.fromarray(np.where(ROWS > 3, 1, 0).astype(np.uint8)).convert("P")
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    indexed.save(tmp_path / "p.png")
    assert set(np.unique(read_volume(case(tmp_path / "p.png")).image)) == {0, 1}
    Image.fromarray(ROWS > 3).save(tmp_path / "b.png")
    assert read_volume(case(tmp_path / "b.png")).image.sum() == 3


def test_a_turn_noted_by_a_camera_is_made(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    Image.fromarray(ROWS).save(tmp_path / "a.png", exif=exif)
    shown = read_volume(case(tmp_path / "a.png")).image[0, :, ::-1, 0].T
    np.testing.assert_array_equal(shown, np.rot90(ROWS, -1))
    assert read_geometry(tmp_path / "a.png", "a")[0].ras_shape == (2, 3, 1)


def test_damaged_missing_and_animated_files_are_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:600])
    (tmp_path / "text.png").write_text("no picture")
    frames = [Image.fromarray(ROWS), Image.fromarray(ROWS[::-1].copy())]
    frames[0].save(tmp_path / "film.png", save_all=True, append_images=frames[1:])
    for name, told in (("cut", "cannot be read"), ("text", "cannot be read"),
                       ("none", "missing"), ("film", "2 frames")):  # fmt: skip
        with pytest.raises(DataError, match=told) as caught:
            read_volume(case(tmp_path / f"{name}.png"))
        assert f"{name}.png" in str(caught.value)


def noisy(seed: int, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, size, np.uint8)


def drawn(size: tuple[int, int] = (12, 10)) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[2:5, 3:6] = 255
    return mask


def folder(root: Path, sizes: dict[str, tuple[int, int]]) -> None:
    for index, (name, size) in enumerate(sizes.items()):
        save(root / f"images/{name}.jpg", noisy(index, size), quality=95)
        save(root / f"masks/{name}.png", drawn(size))


def test_a_folder_of_jpegs_of_several_sizes_and_png_masks(tmp_path: Path) -> None:
    folder(tmp_path, {"p1_a": (12, 10), "p1_b": (20, 16), "p2_a": (9, 31)})
    source = DataSource(root=str(tmp_path), classes={"nodule": 255}, patient="(p\\d)_.*")
    dataset = read_dataset(source)
    assert [c.patient for c in dataset.cases] == ["p1", "p1", "p2"]
    assert len(dataset.masks) == 3
    assert dataset.flat
    found = check(source)
    assert found.ok
    assert found.to_json()["cases"][1]["shape"] == (16, 20, 1)
    assert "spacing px" in render(found)


def test_nnunet_pngs_with_all_channels_in_one_file_or_one_each(tmp_path: Path) -> None:
    colour = np.stack([noisy(1), noisy(2), noisy(3)], axis=2)
    save(tmp_path / "imagesTr/a_0000.png", colour)
    save(tmp_path / "labelsTr/a.png", drawn() // 255)
    for k in range(3):
        save(tmp_path / f"imagesTr/b_{k:04d}.png", noisy(4 + k))
    save(tmp_path / "labelsTr/b.png", drawn() // 255)
    names = {"0": "R", "1": "G", "2": "B"}
    content = {"channel_names": names, "labels": {"background": 0, "x": 1}, "file_ending": ".png"}
    write_json(tmp_path / "dataset.json", content)
    dataset = read_dataset(DataSource(root=str(tmp_path)))
    assert [read_volume(c).image.shape for c in dataset.cases] == [(3, 10, 12, 1)] * 2
    write_json(tmp_path / "dataset.json", content | {"file_ending": ".jpg"})
    with pytest.raises(DataError, match="convert the files"):
        read_dataset(DataSource(root=str(tmp_path)))


def test_the_check_finds_what_pictures_can_have_wrong(tmp_path: Path) -> None:
    folder(tmp_path, dict.fromkeys(("a", "b", "c"), (12, 10)))
    save(tmp_path / "masks/a.png", drawn((12, 11)))  # another size
    save(tmp_path / "masks/b.png", drawn() // 255 * 7)  # an undeclared value
    save(tmp_path / "images/c.jpg", np.stack([noisy(1), noisy(2), noisy(3)], axis=2))
    found = check(DataSource(root=str(tmp_path), classes={"nodule": 255}))
    told = " | ".join(d.sentence() for d in (*found.errors, *found.warnings))
    assert "shape (11, 12, 1)" in told
    assert "unknown label values 7" in told
    assert "1 and 3 channels" in told
    save(tmp_path / "masks/a.jpg", drawn(), quality=30)
    (tmp_path / "masks/a.png").unlink()
    source = DataSource(root=str(tmp_path), classes={"n": 255}, masks="masks/{case}.jpg")
    assert "JPEG smears values" in " ".join(d.sentence() for d in check(source).errors)


def test_kinds_of_references_are_read_and_never_mixed(tmp_path: Path) -> None:
    folder(tmp_path, dict.fromkeys(("a", "b", "c"), (12, 10)))
    source = DataSource(root=str(tmp_path), classes={"n": 255}, reference_kind="polygon")
    with (tmp_path / "references.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([("case", "kind"), ("b", "box")])
    kinds = read_dataset(source).reference_kinds
    assert kinds == {"a": "polygon", "b": "box", "c": "polygon"}
    assert one_kind(kinds, [CaseId("a"), CaseId("c")], "x") == "polygon"
    assert one_kind({}, [CaseId("a")], "x") is None
    with pytest.raises(DataError, match=r"polygon 1 \(e.g. a\), box 1 \(e.g. b\)"):
        one_kind(kinds, [CaseId("a"), CaseId("b")], "x")
    (tmp_path / "references.csv").write_text("case,kind\nb,boks\n")
    told = " ".join(d.sentence() for d in check(source).errors)
    assert "'boks' is no kind of reference; known: box," in told
