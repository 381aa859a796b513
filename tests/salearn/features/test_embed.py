import numpy as np
import pytest
import torch

from salearn.errors import ConfigError, DataError
from salearn.features.embed import Embedder, EmbedSettings, pooled, view
from salearn.models.lora import LoraSettings, adapt
from salearn.models.pixels import Window, three_channels
from salearn.models.sam3 import SamSettings, load_sam
from salearn.store import Store


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("object",))


def volume(seed=0, shape=(20, 12, 9)):
    return np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)


def embedder(sam, root, axis=1, sam_key="s", adapter_key="", make=None, **values):
    make = make or (lambda: sam)
    return Embedder(make, Store(root), EmbedSettings(**values), axis, sam_key, adapter_key)


def never():
    raise AssertionError("the encoder was asked for although everything is stored")


@pytest.mark.parametrize(("axis", "slices"), [(0, 20), (1, 12), (2, 9)])
def test_every_slice_gets_a_unit_vector(sam, tmp_path, axis, slices):
    vectors = embedder(sam, tmp_path, axis).slices("case", volume())
    assert vectors.shape == (slices, 96)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert len(np.unique(vectors.round(4), axis=0)) == slices


def test_a_vector_is_the_mean_of_the_normalised_tokens(sam, tmp_path):
    image = volume(shape=(32, 2, 32))
    vectors = embedder(sam, tmp_path).slices("case", image)
    pixels = torch.from_numpy(Window.of(image).scaled(image)[0, :, 1])[None, None]
    with torch.no_grad(), sam.at_resolution(32):
        expected = sam.tokens(three_channels(pixels)).mean(1)[0]
    expected = expected / expected.norm()
    np.testing.assert_allclose(vectors[1], expected, atol=5e-4)  # stored as float16


def test_vectors_do_not_depend_on_the_batch_and_are_computed_once(sam, tmp_path):
    image = volume()
    first = embedder(sam, tmp_path / "a", batch=5).slices("case", image)
    second = embedder(sam, tmp_path / "b", batch=64).slices("case", image)
    np.testing.assert_allclose(first, second, atol=5e-4)
    again = embedder(sam, tmp_path / "a", make=never, batch=64).slices("case", image)
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 64},
        {"grid": 2},
        {"block": 1},
        {"body": 0.0},
        {"axis": 2},
        {"adapter_key": "a"},
    ],
)
def test_what_changes_a_vector_changes_its_key(sam, tmp_path, change):
    image = volume()
    embedder(sam, tmp_path).slices("case", image)
    with pytest.raises(AssertionError, match="was asked for"):
        embedder(sam, tmp_path, make=never, **change).slices("case", image)


def test_an_adapted_encoder_gives_other_vectors_and_the_resolution_is_restored(sam, tmp_path):
    adapted = adapt(sam, LoraSettings(train_modules=()), 0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    image = volume()
    base = embedder(sam, tmp_path).slices("case", image)
    other = embedder(adapted, tmp_path, adapter_key="a").slices("case", image)
    assert np.abs(base - other).max() > 0.01
    assert sam.resolution == adapted.resolution == 64


def test_volume_vectors_are_weighted_means_by_hand(sam, tmp_path):
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(pooled(vectors), [0.5**0.5, 0.5**0.5], rtol=1e-6)
    # (3, 4) / 7 has the direction (0.6, 0.8).
    weights = np.array([3.0, 4.0], dtype=np.float32)
    np.testing.assert_allclose(pooled(vectors, weights), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(pooled(vectors, 0 * weights), pooled(vectors))
    maker = embedder(sam, tmp_path)
    expected = pooled(maker.slices("case", volume()))
    np.testing.assert_array_equal(maker.volume("case", volume()), expected)


def test_views_are_near_the_slice_but_not_equal(sam, tmp_path):
    maker = embedder(sam, tmp_path, views=3)
    image = volume()
    views, slices = maker.views("case", image), maker.slices("case", image)
    assert views.shape == (12, 3, 96)
    assert maker.volume_views("case", image).shape == (3, 96)
    similarity = np.einsum("svd,sd->sv", views, slices)
    assert similarity.min() > 0.3
    assert similarity.max() < 0.9999
    assert embedder(sam, tmp_path, make=never, views=3).views("case", image).shape == views.shape


def test_a_view_without_changes_is_the_slice():
    still = EmbedSettings(view_gain=0, view_offset=0, view_gamma=0, view_flips=False)
    slices = np.random.default_rng(0).uniform(-1, 1, (3, 1, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(view(slices, still, np.random.default_rng(0)), slices, atol=1e-6)


def test_background_tokens_can_be_left_out(sam, tmp_path):
    image = np.full((1, 32, 3, 32), -1.0, dtype=np.float32)
    image[0, :8, :2, :8] = 1.0  # one token of each of the first two slices; the third is empty
    image[0, :8, 1, :8] += np.eye(8, dtype=np.float32)
    body = embedder(sam, tmp_path, body=-0.5).slices("case", image)
    whole = embedder(sam, tmp_path).slices("case", image)
    assert np.abs(body[0] - whole[0]).max() > 0.01
    np.testing.assert_allclose(body[2], whole[2], atol=1e-3)


def test_cells_of_a_grid_are_pooled_alone_and_joined(sam, tmp_path):
    image = volume(shape=(32, 2, 32))
    joined = embedder(sam, tmp_path, grid=2).slices("case", image)
    assert joined.shape == (2, 4 * 96)
    # Cells are equally large, so their mean has the direction of the plain mean.
    plain = embedder(sam, tmp_path).slices("case", image)
    mean = joined.reshape(2, 4, 96).mean(1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(mean, plain, atol=1e-3)
    with pytest.raises(ConfigError, match=r"embed\.grid: 4 x 4 tokens"):
        embedder(sam, tmp_path, grid=3).slices("case", image)


def test_images_that_are_not_finite_are_refused(sam, tmp_path):
    with pytest.raises(DataError, match="not finite"):
        embedder(sam, tmp_path).slices("case", volume() * np.float32("nan"))


def test_windows_map_percentiles_to_one_and_channels_are_repeated():
    image = np.linspace(0, 1000, 1001, dtype=np.float32).reshape(1, 1001, 1, 1)
    scaled = Window.of(image).scaled(image)[0, :, 0, 0]
    # The 0.5th and 99.5th percentiles are 5 and 995.
    np.testing.assert_allclose(scaled[[0, 5, 500, 995, 1000]], [-1, -1, 0, 1, 1], atol=1e-5)
    two = torch.arange(2.0).view(1, 2, 1)
    assert three_channels(two).flatten().tolist() == [0, 1, 1]
    with pytest.raises(ConfigError, match="4 channels"):
        three_channels(torch.zeros(1, 4, 2))
