import json

import pytest
import torch

from salearn.errors import ConfigError, DataError, TrainingError
from salearn.models.pretexts import fitting
from salearn.models.pretexts.autoencoder import Autoencoder
from salearn.models.pretexts.fitting import CHECKPOINT, LOG, RECORD, _Training
from salearn.models.pretexts.mae import Mae
from salearn.models.pretexts.patches import flat_patches, patchify
from salearn.models.pretexts.rates import groups_of, rate_share
from salearn.models.pretexts.registry import PRETEXTS
from salearn.models.pretexts.trunk import trunk_parameters, with_own_trunk
from salearn.models.sam3 import SamSettings, load_sam
from salearn.settings import parse
from salearn.store import read_lines


class Stripes:
    """Pictures of stripes of random direction and phase, some with a black border."""

    def __init__(self, side=32, count=6, border=0):
        self.side, self.count, self.border = side, count, border

    def __len__(self):
        return self.count

    def draw(self, count, rng):
        return torch.cat([self._one(rng.uniform(0, 3.1), rng.uniform(0, 6)) for _ in range(count)])

    def plain(self, most):
        return torch.cat([self._one(0.5 * i, i) for i in range(min(most, self.count))])

    def _one(self, angle, phase):
        y, x = torch.meshgrid(*[torch.arange(self.side) / 3.0] * 2, indexing="ij")
        angle = torch.tensor(float(angle))
        wave = torch.sin(x * angle.cos() + y * angle.sin() + phase)
        wave[: self.border] = -1
        return wave.expand(1, 3, -1, -1).contiguous()


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=32), ("one",))


def small(**changes):
    values = {
        "iterations": 4, "batch": 2, "check_every": 2, "checkpoint_every": 1, "log_every": 1,
        "learning_rate": 1e-3, "epochs": 20_000, "decoder": {"width": 16, "depth": 1},
    }  # fmt: skip
    return parse(Mae, values | changes, "pretext")


@pytest.mark.parametrize("changes", [{"form": "A", "ema": 0.9}, {"form": "B", "anchor": 0.5}])
def test_a_fit_that_was_cut_ends_bit_for_bit_where_a_whole_one_does(sam, tmp_path, changes):
    def cut(done, steps, values):
        if done == 3:
            raise KeyboardInterrupt

    whole = small(**changes).fit(sam, Stripes(), Stripes(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        small(**changes).fit(sam, Stripes(), Stripes(), tmp_path / "cut", cut)
    parts = small(**changes).fit(sam, Stripes(), Stripes(), tmp_path / "cut")
    assert all(torch.equal(parts[name], value) for name, value in whole.items())
    for name in (LOG, RECORD):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(sam, tmp_path):
    small(iterations=2).fit(sam, Stripes(), Stripes(), tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
    small(iterations=1, seed=1).fit(sam, Stripes(), Stripes(), tmp_path)
    assert [line["iteration"] for line in read_lines(tmp_path / LOG)] == [1]


@pytest.mark.parametrize("form", ["A", "B", "C"])
def test_gradients_reach_trunk_and_decoder_and_nothing_else(sam, form):
    given = small(form=form)
    twin = with_own_trunk(sam)
    model = Autoencoder(twin, given)
    images = Stripes().plain(2)
    loss, count = model.loss(images, model.hide(2, torch.Generator().manual_seed(0)))
    loss.backward()
    assert count == 24  # 12 of 16 patches of each picture
    trunk = trunk_parameters(twin)
    # A key's bias shifts all scores of a query alike: softmax forgets it, up to rounding.
    assert all(p.grad is not None for p in trunk.values())
    assert all(p.grad.abs().max() > 0 for n, p in trunk.items() if "k_proj.bias" not in n)
    assert all(p.grad is not None for p in model.parameters())
    rest = {n: p for n, p in twin.named_parameters() if n.removeprefix("model.") not in trunk}
    assert rest
    assert all(p.grad is None and not p.requires_grad for p in rest.values())


def test_the_base_keeps_its_bits_and_the_trunk_moves(sam, tmp_path):
    before = {n: v.clone() for n, v in sam.state_dict().items()}
    state = small(iterations=1).fit(sam, Stripes(), Stripes(), tmp_path)
    assert all(torch.equal(v, before[n]) for n, v in sam.state_dict().items())
    assert sam.resolution == 32
    assert set(state) == set(trunk_parameters(sam))
    name = "vision_encoder.backbone.layers.0.mlp.fc1.weight"
    assert not torch.equal(state[name], before["model." + name])


class ThreeStripes(Stripes):
    """Three pictures, over and over."""

    def draw(self, count, rng):
        return torch.cat([self._one([0.3, 1.2, 2.0][rng.integers(3)], 0.0) for _ in range(count)])

    def plain(self, most):
        return torch.cat([self._one(angle, 0.0) for angle in (0.3, 1.2, 2.0)])


@pytest.mark.slow
@pytest.mark.parametrize(("form", "iterations", "bound"), [("A", 30, 0.5), ("B", 160, 0.96)])
def test_the_loss_falls_on_stripes(sam, tmp_path, form, iterations, bound):
    """The mean of each patch scores 0.995. B's decoder must first learn where to look."""
    given = small(
        form=form, iterations=iterations, batch=3, check_every=40, mask=0.5, layer_decay=1.0,
        learning_rate=2e-3, decoder_rate=4e-3, decoder={"width": 64, "depth": 2, "head": 16},
    )  # fmt: skip
    given.fit(sam, ThreeStripes(), ThreeStripes(), tmp_path)
    told = json.loads((tmp_path / RECORD).read_text())
    assert told["loss_after"] < bound < 1.2 < told["loss_before"]


def test_black_border_is_not_scored(sam):
    given, twin = small(form="A"), with_own_trunk(sam)
    model = Autoencoder(twin, given)
    masking = torch.ones(2, 16, dtype=torch.bool)
    bordered = Stripes(border=8).plain(2)  # the first of four rows of patches is black
    assert model.counted(bordered, masking).sum(1).tolist() == [12, 12]
    loss, count = model.loss(bordered, masking)
    assert count == 24
    predicted, _ = model(bordered, masking)
    patches = patchify(bordered, 8)[:, 4:]
    target = (patches - patches.mean(-1, keepdim=True)) / patches.std(-1, keepdim=True)
    assert not flat_patches(patches, given.flat).any()
    expected = (predicted[:, 4:] - target).square().mean()
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_how_many_pictures_are_in_memory_changes_nothing(sam):
    images = torch.cat([Stripes(border=8).plain(1), Stripes().plain(3)])  # uneven counts

    def gradient(micro):
        training = _Training(small(batch=4, micro=micro, form="B"), sam, Stripes(), Stripes())
        masking = training.model.hide(4, torch.Generator().manual_seed(0))
        loss = training._backward(images, masking)
        return loss, training.parameters[training.trunk[3]].grad

    (one, whole), (other, parts) = gradient(4), gradient(1)
    assert one == pytest.approx(other, rel=1e-5)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=1e-4)


def test_the_anchor_holds_the_features(sam, tmp_path):
    from salearn.models.pretexts.drift import drift
    from salearn.models.pretexts.trunk import load_trunk, save_trunk

    moved = {}
    for anchor in (0.0, 1000.0):
        folder = tmp_path / str(anchor)
        state = small(anchor=anchor, iterations=4).fit(sam, Stripes(), Stripes(), folder)
        save_trunk(sam, state, folder)
        moved[anchor] = drift(sam, load_trunk(sam, folder), Stripes().plain(2))["relative_l2"]
    assert moved[1000.0] < 0.7 * moved[0.0]


def test_it_stops_when_held_out_pictures_gain_nothing(sam, tmp_path, monkeypatch):
    losses = iter([9.0, 5.0, 3.0, 4.0, 3.5, 1.0])
    kept = {}

    def loss_of(self, pictures):
        kept[self.done] = self.parameters[self.trunk[0]].detach().clone()
        return next(losses)

    monkeypatch.setattr(_Training, "held_out_loss", loss_of)
    given = small(iterations=50, check_every=1, patience=2)
    state = given.fit(sam, Stripes(), Stripes(), tmp_path)
    told = json.loads((tmp_path / RECORD).read_text())
    # before 9; then 5, 3 (best, iteration 2), 4 and 3.5 in vain
    assert (told["iterations"], told["kept_iteration"], told["stopped_early"]) == (4, 2, True)
    assert (told["loss_before"], told["loss_after"]) == (9.0, 3.0)
    assert torch.equal(next(iter(state.values())), kept[2])


def test_nothing_held_out_gives_the_last_trunk(sam, tmp_path):
    small(iterations=2).fit(sam, Stripes(), Stripes(count=0), tmp_path)
    told = json.loads((tmp_path / RECORD).read_text())
    assert told["loss_before"] is None
    assert told["kept_iteration"] == 2


def test_rates_fall_with_depth_and_vectors_do_not_decay(sam):
    given = small(learning_rate=1.0, decoder_rate=7.0, layer_decay=0.5)
    trunk = trunk_parameters(with_own_trunk(sam))
    fresh = dict(Autoencoder(sam, given).named_parameters())
    groups = groups_of(given, trunk, fresh, 4)
    rates = {id(p): (g["full"], g["weight_decay"]) for g in groups for p in g["params"]}
    start = "vision_encoder.backbone."
    assert rates[id(trunk[start + "layers.3.mlp.fc1.weight"])] == (1.0, 0.05)
    assert rates[id(trunk[start + "layers.2.mlp.fc1.bias"])] == (0.5, 0.0)
    # four blocks: the patch embedding is four steps before the last block
    assert rates[id(trunk[start + "embeddings.patch_embeddings.projection.weight"])][0] == 0.0625
    assert {rates[id(p)][0] for p in fresh.values()} == {7.0}
    assert len(rates) == len(trunk) + len(fresh)
    whole = small(warmup=0.1)
    assert [rate_share(whole, s, 100) for s in (0, 9, 10, 55)] == pytest.approx([0.1, 1, 1, 0.5])


def test_epochs_bound_the_iterations():
    assert small(epochs=3, batch=4, iterations=100).steps(10) == 8  # ceil(3 * 10 / 4)
    assert small(epochs=300, batch=4, iterations=100).steps(10) == 100


def test_form_c_takes_one_window_only(sam):
    large = load_sam(SamSettings(weights="tiny", resolution=64), ("one",))
    assert small(form="C").shown(large).side == 32
    assert small(form="C").shown(large).single
    assert small(form="A").shown(large).side == 64
    with pytest.raises(ConfigError, match="form C shows one attention window, 32 pixels"):
        small(form="C", resolution=64).shown(large)
    with pytest.raises(ConfigError, match="48 is not a multiple of the attention window of 32"):
        small(form="B", resolution=48).shown(large)


def test_what_cannot_be_is_refused(sam, tmp_path):
    with pytest.raises(ConfigError, match=r"pretext mae\.form: Input should be 'A', 'B' or 'C'"):
        PRETEXTS.build("mae", {"form": "D"})
    with pytest.raises(ConfigError, match="unknown pretext 'mea': did you mean 'mae'"):
        PRETEXTS.build("mea")
    with pytest.raises(ConfigError, match="transductive: true"):
        PRETEXTS.build("mae", {"pool": "all"})
    assert PRETEXTS.build("mae", {"pool": "all", "transductive": True}).pool == "all"
    with pytest.raises(ConfigError, match="the least share comes first"):
        small(crop=(0.9, 0.4))
    with pytest.raises(ConfigError, match="for CUDA"):
        small(amp=True).fit(sam, Stripes(), Stripes(), tmp_path)
    with pytest.raises(DataError, match="no picture to learn from"):
        small().fit(sam, Stripes(count=0), Stripes(), tmp_path)
    with pytest.raises(DataError, match="no held-out picture shows anything"):
        small().fit(sam, Stripes(), Stripes(border=32), tmp_path)
    with pytest.raises(TrainingError, match="the loss is nan at iteration"):
        small(learning_rate=1e30, clip=1e30, warmup=0).fit(
            sam, Stripes(), Stripes(count=0), tmp_path
        )
    assert small().iterations < fitting.HELD_OUT_STREAM
