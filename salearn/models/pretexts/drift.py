"""How far a trunk has moved: linear CKA and relative L2 between old and new features."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from salearn.errors import DataError
from salearn.models.pretexts.patches import flat_patches, patchify
from salearn.models.sam3 import Sam


def linear_cka(x: Float[Tensor, "row dim"], y: Float[Tensor, "row other"]) -> float:
    """Likeness of two sets of features, 0..1; turning or scaling either changes nothing.

    |Y'X|^2 / (|X'X| |Y'Y|) (Frobenius) of centred columns. Independent features of r rows and d
    columns give about d / r.

    Raises:
        DataError: one of them is the same in all rows.

    Source: Kornblith et al. 2019.
    """
    x, y = (v.double() - v.double().mean(0) for v in (x, y))
    spread = torch.linalg.norm(x.T @ x) * torch.linalg.norm(y.T @ y)
    if not spread > 0:
        raise DataError("drift: the features are the same everywhere; are the pictures empty?")
    return float(torch.linalg.norm(y.T @ x).square() / spread)


def relative_l2(old: Float[Tensor, "row dim"], new: Float[Tensor, "row dim"]) -> float:
    """|new - old| / |old|; 0 = the same."""
    return float(torch.linalg.norm(new - old) / torch.linalg.norm(old))


@torch.no_grad()
def drift(
    old: Sam, new: Sam, pictures: Float[Tensor, "b 3 side side"], flat: float = 1e-3
) -> dict[str, Any]:
    """Means over pictures, of the tokens of patches that show something.

    Returns:
        {"images", "tokens", "cka", "relative_l2" (both of the last block), "cka_by_block",
        "relative_l2_by_block"}.

    Raises:
        DataError: no picture shows anything.
    """
    cka: list[list[float]] = []
    moved: list[list[float]] = []
    tokens = 0
    for picture in torch.split(pictures, 1):
        shown = ~flat_patches(patchify(picture, old.patch), flat)[0]
        if shown.sum() < 2:
            continue
        tokens += int(shown.sum())
        pairs = list(zip(blocks(old, picture), blocks(new, picture), strict=True))
        cka.append([linear_cka(a[shown], b[shown]) for a, b in pairs])
        moved.append([relative_l2(a[shown], b[shown]) for a, b in pairs])
    if not cka:
        raise DataError("drift: no held-out picture shows anything")
    by_block = [_means(values) for values in (cka, moved)]
    return {
        "images": len(cka),
        "tokens": tokens,
        "cka": by_block[0][-1],
        "relative_l2": by_block[1][-1],
        "cka_by_block": by_block[0],
        "relative_l2_by_block": by_block[1],
    }


def blocks(sam: Sam, picture: Float[Tensor, "1 3 side side"]) -> list[Float[Tensor, "token dim"]]:
    """Tokens after every block."""
    backbone, rows = sam.backbone, picture.shape[-1] // sam.patch
    x = backbone.embeddings(picture.to(sam.device))
    x = backbone.layer_norm(x.view(1, rows, rows, -1))
    found = []
    for layer in backbone.layers:
        x = layer(x)
        found.append(x[0].flatten(0, 1).float().cpu())
    return found


def _means(values: list[list[float]]) -> list[float]:
    return [round(float(v), 6) for v in torch.tensor(values).mean(0)]
