"""Which texts of the generic pool are left when the names of a data set are known."""

import pytest

from salearn.errors import ConfigError
from salearn.generic_prompts import LISTS, GenericSettings, candidates, words
from salearn.hard_negatives import NegativeSettings
from salearn.settings import keyed


def pool(prompts, names=(), **given):
    return candidates(GenericSettings(count=2, **given), prompts, names)


def test_it_is_off_and_leaves_old_keys_alone_unless_asked_for():
    assert candidates(GenericSettings(), ("lung",), ("lung",)) is None
    assert not {"generic", "per_volume"} & set(keyed(NegativeSettings()))
    on = NegativeSettings(generic=GenericSettings(count=2))
    assert keyed(on)["generic"]["count"] == 2


def test_shipped_texts_that_name_a_class_are_left_out():
    found = pool(("kidneys", "lung tumour"), lists=("chest", "abdomen"))
    assert set(LISTS["chest"] + LISTS["abdomen"]) - set(found.texts) == {"kidney", "lung"}
    left = pool(("left adrenal gland",), lists=("abdomen",))  # holds all words of the shipped text
    assert "adrenal gland" not in left.texts
    assert "liver" in left.texts


def test_names_and_synonyms_count_as_prompts_do():
    found = pool(
        ("dark oval",), names=("Spleen",), exclude=("milt", "stomachs"), lists=("abdomen",)
    )
    assert set(LISTS["abdomen"]) - set(found.texts) == {"spleen", "stomach"}
    assert found.against == ("dark oval",)  # tokens are compared with what is asked


def test_own_texts_come_first_and_those_that_name_a_class_are_refused():
    found = pool(("lung",), texts=("coffee cup", "car"))
    assert found.texts[:2] == ("coffee cup", "car")
    assert found.own == 2
    assert found.texts.count("car") == 1
    with pytest.raises(ConfigError, match="'right Lungs' cannot be told from 'lung'"):
        pool(("lung",), texts=("right Lungs",))


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(ConfigError, match="2 texts are asked for each image, but only 1"):
        pool(("lung",), lists=(), texts=("car",))


def test_shipped_lists_hold_every_text_once_and_nothing_names_another():
    shipped = [words(text) for texts in LISTS.values() for text in texts]
    assert len(set(shipped)) == len(shipped)
    assert not any(a < b for a in shipped for b in shipped)
