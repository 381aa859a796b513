"""The trunk with hidden or dropped tokens against the trunk as it is."""

import pytest
import torch
from torch.nn import functional

from salearn.errors import WeightsError
from salearn.models.arms.registry import ARMS, build
from salearn.models.pretexts.decoder import DecoderSettings, TransformerDecoder, sine_positions
from salearn.models.pretexts.patches import balanced_keep, hidden_of, kept_places, window_places
from salearn.models.pretexts.trunk import (
    hidden_tokens,
    kept_tokens,
    load_trunk,
    save_trunk,
    trunk_parameters,
    with_own_trunk,
)
from salearn.models.sam3 import SamSettings, load_sam

ROWS, WINDOW = 8, 4


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("one", "two"))


def pictures(count=2, side=64, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def keeping(ratio, count=2, windows=4):
    return balanced_keep(count, windows, WINDOW**2, ratio, torch.Generator().manual_seed(1))


@torch.no_grad()
def test_form_b_at_ratio_0_is_the_trunk_as_it_is(sam):
    whole = sam.backbone(pictures()).last_hidden_state
    keep = keeping(0.0)
    kept = kept_places(keep, window_places(ROWS, WINDOW))
    expected = whole.gather(1, kept[..., None].expand(-1, -1, whole.shape[-1]))
    found = kept_tokens(sam.backbone, pictures(), keep)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.shape == whole.shape


@torch.no_grad()
def test_form_a_without_anything_hidden_is_the_trunk_bit_for_bit(sam):
    whole = sam.backbone(pictures()).last_hidden_state
    assert torch.equal(hidden_tokens(sam.backbone, pictures()), whole)
    none = torch.zeros(2, ROWS**2, dtype=torch.bool)
    same = hidden_tokens(sam.backbone, pictures(), none, torch.ones(whole.shape[-1]))
    assert torch.equal(same, whole)


@torch.no_grad()
def test_dropped_tokens_are_as_if_no_attention_saw_them(sam):
    """Second implementation: the full grid, with an attention mask over the dropped keys."""
    backbone, keep = sam.backbone, keeping(0.75)
    places = window_places(ROWS, WINDOW)
    hidden = hidden_of(keep, places)
    x = backbone.embeddings(pictures())
    x = backbone.layer_norm(x)
    for layer in backbone.layers:
        x = masked_block(layer, x, hidden, places)
    kept = kept_places(keep, places)
    expected = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
    found = kept_tokens(backbone, pictures(), keep)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def masked_block(layer, x, hidden, places):
    normed, unseen = layer.layer_norm1(x), hidden
    if layer.window_size:
        normed, unseen = normed[:, places].flatten(0, 1), hidden[:, places].flatten(0, 1)
    cos, sin = layer.rotary_emb(normed, layer.position_ids)
    heads, at = layer.attention.num_attention_heads, layer.attention
    q, k, v = (
        p(normed).unflatten(-1, (heads, -1)).transpose(1, 2)
        for p in (at.q_proj, at.k_proj, at.v_proj)
    )
    q, k = (turned(t, cos, sin) for t in (q, k))
    mask = torch.zeros(unseen.shape).masked_fill(unseen, -torch.inf)[:, None, None]
    answer = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    answer = at.o_proj(answer.transpose(1, 2).flatten(2))
    if layer.window_size:
        back = torch.empty_like(x)
        back[:, places] = answer.view(len(x), *places.shape, -1)
        answer = back
    x = x + answer
    return x + layer.mlp(layer.layer_norm2(x))


def turned(t, cos, sin):
    even, odd = t[..., ::2], t[..., 1::2]
    return torch.stack(
        [even * cos[..., ::2] - odd * sin[..., ::2], odd * cos[..., ::2] + even * sin[..., ::2]], -1
    ).flatten(-2)


@torch.no_grad()
def test_form_c_is_the_trunk_at_the_size_of_a_window(sam):
    image = pictures(side=32)
    with sam.at_resolution(32):
        whole = sam.backbone(image).last_hidden_state
        found = kept_tokens(sam.backbone, image, keeping(0.0, windows=1))
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def test_checkpointing_changes_no_gradient(sam):
    def gradient(checkpointing):
        twin = with_own_trunk(sam)
        kept_tokens(
            twin.backbone, pictures(), keeping(0.5), checkpointing
        ).square().mean().backward()
        return {n: p.grad for n, p in trunk_parameters(twin).items()}

    one, other = gradient(False), gradient(True)
    for name, value in one.items():
        torch.testing.assert_close(other[name], value)


def test_a_stored_trunk_comes_back_beneath_every_arm(sam, tmp_path):
    state = {n: p.detach() + 1 for n, p in trunk_parameters(sam).items()}
    before = {n: v.clone() for n, v in sam.model.state_dict().items()}
    save_trunk(sam, state, tmp_path)
    found = load_trunk(sam, tmp_path)
    assert all(torch.equal(p, state[n]) for n, p in trunk_parameters(found).items())
    assert all(torch.equal(v, before[n]) for n, v in sam.model.state_dict().items())
    assert not any(p.requires_grad for p in found.parameters())
    heads = found.model.mask_decoder.semantic_projection.weight
    assert heads.data_ptr() == sam.model.mask_decoder.semantic_projection.weight.data_ptr()
    name = "vision_encoder.backbone.layers.0.mlp.fc2.bias"
    for arm in ARMS.available():
        values = dict(build(arm).adapt(found, 0).model.named_parameters())
        below = [v for n, v in values.items() if n.endswith("layers.0.mlp.fc2.bias")]
        below += [v for n, v in values.items() if n.endswith("layers.0.mlp.wrapped.fc2.bias")]
        below += [v for n, v in values.items() if n.endswith("layers.0.mlp.fc2.base_layer.bias")]
        assert any(torch.equal(v, state[name]) for v in below), arm


def test_a_trunk_that_is_missing_or_of_another_size_is_refused(sam, tmp_path):
    with pytest.raises(WeightsError, match=r"trunk\.safetensors"):
        load_trunk(sam, tmp_path)
    mini = load_sam(SamSettings(weights="mini", resolution=64), ("object",))
    save_trunk(sam, {n: p.detach() for n, p in trunk_parameters(sam).items()}, tmp_path)
    with pytest.raises(WeightsError, match="of another"):
        load_trunk(mini, tmp_path)


def test_the_decoder_puts_tokens_where_they_are_from():
    torch.manual_seed(0)
    decoder = TransformerDecoder(24, 12, DecoderSettings(width=32, depth=1))
    tokens, places = torch.randn(2, 5, 24), torch.tensor([[0, 3, 7, 8, 15], [1, 2, 3, 4, 5]])
    order = torch.tensor([4, 2, 0, 1, 3])
    found = decoder(tokens, places, 4)
    assert found.shape == (2, 16, 12)
    torch.testing.assert_close(decoder(tokens[:, order], places[:, order], 4), found)
    moved = decoder(tokens, places.roll(1, 0), 4)
    assert not torch.allclose(moved, found)


def test_every_place_has_a_position_of_its_own():
    table = sine_positions(6, 16)
    assert table.shape == (36, 16)
    assert torch.cdist(table, table).fill_diagonal_(1).min() > 0.1
    assert torch.equal(table[:6, :8], table[:1, :8].expand(6, -1))  # one row, one half
