"""A generic pool in the tokens of a SAM3, and asked of images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salearn.errors import ConfigError
from salearn.generic_prompts import Candidates, GenericSettings, candidates
from salearn.models.sam3 import SamSettings, load_sam
from salearn.models.sam3_generic import embed_pool
from salearn.models.sam3_prompts import WordTokenizer, read_tokenizer

GIVEN = SamSettings(weights="tiny", resolution=32)
PROMPTS = ("lung", "lung tumour")
ALL = GenericSettings(count=2, lists=("things", "head", "abdomen", "pelvis", "limbs"))


def found(texts, own=0, against=PROMPTS, count=1):
    return Candidates(texts=texts, own=own, against=against, count=count)


def twin_word(word):
    """Another unknown word with the same token."""
    tokenizer = WordTokenizer()
    return next(w for w in (f"thing{n}" for n in range(999))
                if tokenizer._token(w) == tokenizer._token(word))  # fmt: skip


class Tower:
    """Stands for a SAM3 whose text tower answers with the ids."""

    text_projection = SimpleNamespace(weight=torch.zeros(1))

    def get_text_features(self, input_ids, attention_mask, return_dict):
        return SimpleNamespace(pooler_output=input_ids.float().unsqueeze(-1))


def test_shipped_texts_with_the_tokens_of_a_prompt_or_of_another_are_dropped():
    given = candidates(ALL, PROMPTS, PROMPTS)
    pool = embed_pool(Tower(), WordTokenizer(), given)

    def ids(text):
        return {i for i in WordTokenizer().encode([text])[0][0].tolist() if i > 2}

    shown = [ids(prompt) for prompt in PROMPTS]
    kept = [ids(text) for text in pool.texts]
    assert all(not (k <= s or s <= k) for k in kept for s in shown)
    assert len({frozenset(k) for k in kept}) == len(kept)
    assert set(pool.texts) | set(pool.dropped) == set(given.texts)
    for text in pool.dropped:
        like = any(ids(text) <= s or s <= ids(text) for s in shown)
        assert like or ids(text) in kept
    assert len(pool.dropped) > 0  # 78 ids or less for fifty words


def test_an_own_text_with_the_tokens_of_a_prompt_is_refused():
    word = twin_word("tumour")
    for text, like in ((word, "lung tumour"), (f"{word} lung", "lung")):
        with pytest.raises(ConfigError, match=f"'{text}' cannot be told from '{like}', which"):
            embed_pool(Tower(), WordTokenizer(), found((text,), own=1))
    pool = embed_pool(Tower(), WordTokenizer(), found((word, "left part"), own=0))
    assert pool.texts == ("left part",)
    assert pool.dropped == (word,)
    with pytest.raises(ConfigError, match="only 0 of the pool"):
        embed_pool(Tower(), WordTokenizer(), found((word,)))
    with pytest.raises(ConfigError, match=r"mining\.generic\.texts: .*1 to 6 words"):
        embed_pool(Tower(), WordTokenizer(), found(("a b c d e f g",), own=1))


def test_byte_pair_tokens_are_compared_alike(tmp_path):
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    symbols += [s + "</w>" for s in symbols] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(str(tmp_path))
    tokenizer = read_tokenizer(tmp_path, 8)
    # "ab" is a, b</w>: it holds all of "b", and nothing of "ba", which is b, a</w>
    pool = embed_pool(Tower(), tokenizer, found(("b", "ba", "c"), against=("ab",)))
    assert pool.texts == ("ba", "c")
    assert pool.mask.sum(1).tolist() == [4, 3]  # begin, letters, end
    with pytest.raises(ConfigError, match=r"mining\.generic\.texts: .*SAM3 takes 8"):
        embed_pool(Tower(), tokenizer, found(("abcdefghi",), own=1, against=("ab",)))


def test_further_texts_answer_as_prompts_of_classes_do():
    sam = load_sam(GIVEN, PROMPTS[:1], found(("left part", "right part"), against=PROMPTS, count=1))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = torch.tensor([[1], [0]])  # another text for each image
    further = sam.pool.embeddings[rows], sam.pool.mask[rows]
    with torch.no_grad():
        masks, there = sam.answer(images, True, further)
        for image, text in enumerate(("right part", "left part")):
            classes = load_sam(GIVEN, (PROMPTS[0], text))
            expected, presence = classes.answer(images[image : image + 1], True)
            torch.testing.assert_close(masks[image : image + 1], expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(there[image : image + 1], presence, atol=1e-5, rtol=1e-5)
        assert sam(images).shape == (2, 1, 32, 32)  # predicted with classes alone
    assert sam.twin().pool is sam.pool


def test_each_image_gets_different_texts_from_the_seed_alone():
    pool = embed_pool(Tower(), WordTokenizer(), candidates(ALL, PROMPTS, ()))
    first, mask = pool.draw(50, np.random.default_rng([1, 7]))
    again, _ = pool.draw(50, np.random.default_rng([1, 7]))
    assert torch.equal(first, again)
    assert first.shape == (50, 2, 8, 1)
    assert mask.dtype == torch.bool
    assert all(not torch.equal(a, b) for a, b in first)  # two different texts
    assert len({tuple(row.flatten().tolist()) for row in first}) > 30  # not the same everywhere
