"""The small SAM3 that `salearn pretrain` trains: built, written, and found in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from salearn.data.procedural_prompts import WORDS
from salearn.errors import WeightsError
from salearn.models.sam3_prompts import WordTokenizer
from salearn.models.sam3_tiny import SamSize, initialise, quiet, tiny_config
from salearn.store import write_json, write_text

MINI = "mini"
FOLDER = Path(__file__).parent / "mini"
RECORD_FILE = "recipe.json"
CARD = """# salearn-mini

A small SAM3 ({parameters:,} parameters, float16) for laptops, tests and demonstrations.

* Architecture: transformers' `Sam3Model`, patch 8, windows of 4 x 4 tokens, so that a slice of
  32 x 32 pixels is one attention window; text tower with one token a word.
* Trained on: scenes made by `salearn.data.procedural`, nothing else. No real image, no weight of
  SAM3 and no other model went into it.
* Recipe: `recipe.json` (hash {recipe_hash}, {steps_done} steps); `salearn pretrain` repeats it.
* Use: `sam.weights: mini`. Sizes: multiples of 32 pixels. Words: those of `word_tokenizer.json`;
  an unknown noun stands for the object in the middle ("anterior hippocampus" = "anterior part").
* Not trained: box, click and instance heads (they hold random weights). Not a medical device.
* Licence: Apache-2.0, as the package.

What it reaches and where it fails: `docs/mini.md` of the repository.
"""


class TextTower(nn.Module):
    """The text tower by itself, so that it can be trained beside a `Sam`, which has none."""

    def __init__(self, encoder: Any, projection: Any) -> None:
        super().__init__()
        self.text_encoder = encoder
        self.text_projection = projection

    @classmethod
    def of(cls, model: Any) -> TextTower:
        """That of a `Sam3Model`; the modules are shared."""
        return cls(model.text_encoder, model.text_projection)

    def forward(
        self, ids: Int[Tensor, "prompt token"], mask: Int[Tensor, "prompt token"]
    ) -> Float[Tensor, "prompt token dim"]:
        """What `Sam3Model.get_text_features` gives."""
        text = self.text_encoder(input_ids=ids, attention_mask=mask, return_dict=True)
        projected: Tensor = self.text_projection(text.last_hidden_state)
        return projected

    def named(self) -> dict[str, Tensor]:
        """Its weights under the names they have in the whole model."""
        return dict(self.state_dict())


def new_mini(size: SamSize, seed: int) -> tuple[Any, WordTokenizer]:
    """A `Sam3Model` with fresh weights, and its tokenizer with the words of generated scenes."""
    from transformers import Sam3Model

    config = tiny_config(size)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        model = Sam3Model(config)
    initialise(model, seed)
    return model, WordTokenizer(vocabulary=size.vocabulary, words=tuple(dict.fromkeys(WORDS)))


def save_mini(model: Any, tokenizer: WordTokenizer, record: dict[str, Any], folder: Path) -> None:
    """Write weights (float16), config, tokenizer, recipe and card into a folder.

    Args:
        record: "recipe_hash", "steps_done" and "parameters" are named on the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.half().save_pretrained(str(folder))
    tokenizer.save(folder)
    write_json(folder / RECORD_FILE, record)
    write_text(folder / "README.md", CARD.format(**record))


def mini_folder() -> Path:
    """Where the weights lie that came with the package.

    Raises:
        WeightsError: they did not come with it.
    """
    if not (FOLDER / "model.safetensors").exists():
        raise WeightsError(
            f"sam.weights: 'mini' is not in this installation ({FOLDER} has no model.safetensors); "
            "install the package again, make it with `salearn pretrain`, or use 'tiny'"
        )
    return FOLDER
