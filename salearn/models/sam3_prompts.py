"""Text prompts as tokens and as cached embeddings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from salearn.errors import ConfigError, WeightsError
from salearn.models.sam3_tiny import PROMPT_LENGTH, VOCABULARY
from salearn.store import write_json

WORDS_FILE = "word_tokenizer.json"
PAD, BEGIN, END, FIRST = 0, 1, 2, 3
# Words with an id of their own; all others share what is left of the vocabulary by their hash.
WORDS = (
    *("object", "part", "central", "other", "all", "anterior", "posterior", "left", "right"),
    *("superior", "inferior", "core", "shell", "background", "organ", "lesion", "tumor"),
)


@runtime_checkable
class Tokenizer(Protocol):
    """Prompts as rows of token ids."""

    def encode(
        self, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "prompt token"], Int[Tensor, "prompt token"]]:
        """Token ids and which of them are not padding (1)."""
        ...


@dataclass(frozen=True)
class WordTokenizer:
    """One token a word; a word without an id of its own gets one by a hash, the same everywhere.

    Two unknown words may share an id; prompts that become the same are refused when embedded. The
    tiny model has learnt no word; mini takes an unknown noun for the object in question.
    """

    vocabulary: int = VOCABULARY
    length: int = PROMPT_LENGTH
    words: tuple[str, ...] = WORDS

    def encode(
        self, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "prompt token"], Int[Tensor, "prompt token"]]:
        """Token ids and which of them are not padding (1).

        Raises:
            ConfigError: a prompt has no word or too many.
        """
        rows = [self._row(prompt) for prompt in prompts]
        ids = torch.full((len(rows), self.length), PAD)
        for row, tokens in zip(ids, rows, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        return ids, (ids != PAD).long()

    def save(self, folder: Path) -> None:
        """Write it beside the weights that were trained with it."""
        value = {"vocabulary": self.vocabulary, "length": self.length, "words": list(self.words)}
        write_json(folder / WORDS_FILE, value)

    def _row(self, prompt: str) -> list[int]:
        words = re.findall(r"[a-z0-9]+", prompt.lower())
        if not words or len(words) > self.length - 2:
            raise ConfigError(
                f"prompt '{prompt}': a SAM3 with word tokens takes 1 to {self.length - 2} words; "
                "set a shorter one for the class in `data.prompts`"
            )
        return [BEGIN, *(self._token(word) for word in words), END]

    def _token(self, word: str) -> int:
        if word in self.words:
            return FIRST + self.words.index(word)
        first = FIRST + len(self.words)
        digest = hashlib.sha256(word.encode()).digest()
        return first + int.from_bytes(digest[:8], "big") % (self.vocabulary - first)


@dataclass(frozen=True)
class ClipTokenizer:
    """CLIP's byte-pair tokens, padded to the context of the text tower."""

    tokenizer: Any
    length: int

    def encode(
        self, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "prompt token"], Int[Tensor, "prompt token"]]:
        """Token ids and which of them are not padding (1).

        Raises:
            ConfigError: a prompt has more tokens than the context.
        """
        rows = self.tokenizer(list(prompts), padding="max_length", max_length=self.length)
        for prompt, row in zip(prompts, rows["input_ids"], strict=True):
            if len(row) > self.length:
                raise ConfigError(
                    f"prompt '{prompt}' has {len(row)} tokens, SAM3 takes {self.length}: set a "
                    "shorter one for the class in `data.prompts`"
                )
        return torch.tensor(rows["input_ids"]), torch.tensor(rows["attention_mask"])


def read_tokenizer(folder: Path, length: int) -> Tokenizer:
    """The tokenizer that lies beside weights.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    words = folder / WORDS_FILE
    if words.exists():
        try:
            value = json.loads(words.read_text())
            return WordTokenizer(value["vocabulary"], value["length"], tuple(value["words"]))
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{words}: damaged ({error}); copy it from the weights anew"
            ) from None
    if not any((folder / name).exists() for name in ("tokenizer.json", "vocab.json")):
        raise WeightsError(
            f"{folder}: no tokenizer beside the weights (tokenizer.json, or vocab.json with "
            "merges.txt); copy the tokenizer files of the checkpoint into the folder"
        )
    from transformers import CLIPTokenizer

    return ClipTokenizer(CLIPTokenizer.from_pretrained(str(folder), local_files_only=True), length)


def embed_prompts(
    model: Any, tokenizer: Tokenizer, prompts: Sequence[str]
) -> tuple[Float[Tensor, "prompt token dim"], Bool[Tensor, "prompt token"]]:
    """What the text tower makes of the prompts, to be cached.

    Raises:
        ConfigError: no prompt, or two that SAM3 cannot tell apart.
    """
    if not prompts:
        raise ConfigError("SAM3 needs one text prompt per class; the data set names no class")
    _check_distinct(tokenizer.encode(prompts)[0], prompts)
    return text_features(model, tokenizer, prompts)


def text_features(
    model: Any, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[Float[Tensor, "prompt token dim"], Bool[Tensor, "prompt token"]]:
    """What the text tower makes of any texts."""
    ids, mask = tokenizer.encode(texts)
    device = model.text_projection.weight.device
    with torch.no_grad():
        text = model.get_text_features(
            input_ids=ids.to(device), attention_mask=mask.to(device), return_dict=True
        )
    # A plain copy: what transformers returns may be a view that keeps the tower alive.
    return text.pooler_output.detach().clone(), mask.bool().to(device)


def _check_distinct(ids: Int[Tensor, "prompt token"], prompts: Sequence[str]) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for row, prompt in zip(ids.tolist(), prompts, strict=True):
        other = seen.setdefault(tuple(row), prompt)
        if other is not prompt:
            raise ConfigError(
                f"prompts '{other}' and '{prompt}' are the same tokens for this SAM3: give the "
                "classes different words in `data.prompts`"
            )
