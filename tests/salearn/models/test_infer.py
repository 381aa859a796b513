import numpy as np
import torch

from salearn.models.infer import InferenceSettings, predict_volumes

PATCH = (8, 8, 8)


class Recorder:
    """A network without weights: logits are (0, image); it remembers what reached it."""

    def __init__(self):
        self.shapes = []

    def __call__(self, image):
        self.shapes.append(tuple(image.shape))
        return torch.cat([torch.zeros_like(image[:, :1]), image[:, :1]], dim=1)


def _volumes(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, *shape)).astype(np.float32) for shape in shapes]


def _expected(volume):
    one = 1 / (1 + np.exp(-volume[0]))
    return np.stack([1 - one, one])


def test_order_and_grid_are_those_of_the_input():
    volumes = _volumes((7, 9, 8), (16, 8, 8), (8, 10, 5), (3, 3, 3), (8, 16, 8))
    net = Recorder()
    results = list(predict_volumes(net, volumes, 4, PATCH, InferenceSettings(batch=2)))
    for volume, result in zip(volumes, results, strict=True):
        assert result.dtype == np.float32
        assert np.allclose(result, _expected(volume), atol=1e-6)


def test_volumes_of_one_padded_size_share_a_pass_and_a_lone_one_is_doubled():
    volumes = _volumes((7, 8, 8), (12, 12, 12), (8, 8, 6), (5, 5, 5))
    net = Recorder()
    list(predict_volumes(net, volumes, 4, PATCH, InferenceSettings(batch=4)))
    # (7,8,8), (8,8,6) and (5,5,5) pad to 8x8x8; (12,12,12) is alone and goes in twice.
    assert net.shapes == [(3, 1, 8, 8, 8), (2, 1, 12, 12, 12)]


def test_large_volumes_go_through_windows_of_at_least_two():
    volume = _volumes((30, 22, 17))[0]
    net = Recorder()
    settings = InferenceSettings(whole_below=1000, window=(16, 16, 16), batch=5)
    (result,) = predict_volumes(net, [volume], 4, PATCH, settings)
    assert np.allclose(result, _expected(volume), atol=1e-5)
    assert min(shape[0] for shape in net.shapes) >= 2
    assert {shape[2:] for shape in net.shapes} == {(16, 16, 16)}


def test_default_window_is_twice_the_patch():
    net = Recorder()
    list(predict_volumes(net, _volumes((20, 20, 20)), 4, PATCH, InferenceSettings(whole_below=0)))
    assert {shape[2:] for shape in net.shapes} == {(16, 16, 16)}


def test_a_volume_smaller_than_the_window_is_padded():
    volume = _volumes((5, 20, 6))[0]
    (result,) = predict_volumes(Recorder(), [volume], 4, PATCH, InferenceSettings(whole_below=0))
    assert np.allclose(result, _expected(volume), atol=1e-5)


def test_memory_maps_that_cannot_be_written_are_read(tmp_path):
    np.save(tmp_path / "v.npy", _volumes((6, 6, 6))[0])
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    for whole in (0, 10**6):
        settings = InferenceSettings(whole_below=whole)
        (result,) = predict_volumes(Recorder(), [mapped], 2, (4, 4, 4), settings)
        assert np.allclose(result, _expected(mapped), atol=1e-5)
