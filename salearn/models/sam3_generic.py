"""Embedded texts of a generic pool, asked of images beside the prompts of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from salearn.errors import ConfigError
from salearn.generic_prompts import Candidates, clash, first_alike, require_enough
from salearn.models.sam3_prompts import Tokenizer, text_features

Further = tuple[Float[Tensor, "b asked token width"], Bool[Tensor, "b asked token"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class TextPool:
    """Texts that have nothing to find in any image, as the text tower embeds them.

    Attributes:
        texts: all different for this SAM3, none alike the prompt of a class.
        dropped: shipped texts that it could not tell from one of these.
        count: of texts for each image.
    """

    texts: tuple[str, ...]
    dropped: tuple[str, ...]
    count: int
    embeddings: Float[Tensor, "text token dim"]
    mask: Bool[Tensor, "text token"]

    def __deepcopy__(self, memo: dict[int, Any]) -> TextPool:
        return self  # nothing in it changes: twins of a SAM3 share it

    def draw(self, images: int, rng: np.random.Generator) -> Further:
        """`count` different texts for each image, drawn evenly: embeddings and masks."""
        rows = np.stack([rng.permutation(len(self.texts))[: self.count] for _ in range(images)])
        chosen = torch.from_numpy(rows).to(self.mask.device)
        return self.embeddings[chosen], self.mask[chosen]


def embed_pool(model: Any, tokenizer: Tokenizer, found: Candidates | None) -> TextPool | None:
    """Embed the pool, but for what has the same tokens as something else.

    A text is alike a prompt of a class if all tokens of one are in the other: with word tokens,
    unknown words share ids. A shipped text that is, or that repeats another text of the pool, is
    dropped; an own one that is alike a prompt is refused.

    Raises:
        ConfigError: an own text is alike a prompt or too long, or too few texts are left.
    """
    if found is None:
        return None
    prompts = dict(zip(found.against, _tokens(tokenizer, found.against), strict=True))
    kept: dict[frozenset[int], str] = {}
    for number, text in enumerate(found.texts):
        (tokens,) = _pool_tokens(tokenizer, text)
        other = first_alike(tokens, prompts)
        if other is not None and number < found.own:
            raise ConfigError(clash(text, other))
        if other is None:
            kept.setdefault(tokens, text)
    texts = tuple(kept.values())
    require_enough(texts, found.count)
    embeddings, mask = text_features(model, tokenizer, texts)
    dropped = tuple(text for text in found.texts if text not in texts)
    return TextPool(
        texts=texts, dropped=dropped, count=found.count, embeddings=embeddings, mask=mask
    )


def _pool_tokens(tokenizer: Tokenizer, text: str) -> list[frozenset[int]]:
    try:
        return _tokens(tokenizer, [text])
    except ConfigError as error:
        raise ConfigError(f"mining.generic.texts: {error}") from None


def _tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> list[frozenset[int]]:
    """Tokens of each text without those of beginning, end and padding."""
    ids, mask = tokenizer.encode(texts)
    rows = zip(ids, mask, strict=True)
    return [frozenset(row[seen > 0][1:-1].tolist()) for row, seen in rows]


def with_further(
    text: Float[Tensor, "class token dim"],
    mask: Bool[Tensor, "class token"],
    further: Further,
) -> tuple[Float[Tensor, "pair token dim"], Bool[Tensor, "pair token"]]:
    """Prompts of the classes and further texts of each image, one row a pair, image by image."""
    b = len(further[0])
    both = torch.cat([text.expand(b, *text.shape), further[0]], 1).flatten(0, 1)
    return both, torch.cat([mask.expand(b, *mask.shape), further[1]], 1).flatten(0, 1)
