from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from salearn.cases import Case, CaseId
from salearn.data.source import Dataset
from salearn.data.splits import Split, SplitSettings, make_split
from salearn.errors import ConfigError
from salearn.settings import parse


def data(ids: list[str], unmasked: str = "", patients: dict[str, str] | None = None) -> Dataset:
    known = patients or {}
    return Dataset(
        name="Toy",
        root=Path(),
        classes=("a",),
        values=(1,),
        cases=tuple(
            Case(id=CaseId(i), images=(Path(f"{i}.nii"),), patient=known.get(i)) for i in ids
        ),
        masks={CaseId(i): Path(f"{i}_m.nii") for i in ids if i not in unmasked.split()},
        format="msd",
    )


TEN = [f"c{i}" for i in range(10)]


def split(dataset: Dataset, **keys: Any) -> Split:
    return make_split(dataset, parse(SplitSettings, keys, "split"))


def test_counts_and_shares_are_of_the_cases_with_a_mask() -> None:
    dataset = data([*TEN, "u1", "u2"], unmasked="u1 u2")
    found = split(dataset, test=3, validation=0.2)  # 0.2 * 10 masks = 2
    assert found.counts() == {
        "pool": 7,
        "validation": 2,
        "test": 3,
        "unmasked": 2,
        "unused": 0,
    }
    assert found.unmasked == ("u1", "u2")
    assert {"u1", "u2"} <= set(found.pool)
    assert sorted((*found.pool, *found.validation, *found.test)) == sorted([*TEN, "u1", "u2"])


@few(max_examples=25, deadline=None, derandomize=True)
@given(
    order=st.permutations(TEN),
    patients=st.lists(st.sampled_from("pqrst"), min_size=10, max_size=10),
    seed=st.integers(0, 5),
)
def test_no_patient_is_split_and_the_order_of_cases_does_not_matter(
    order: list[str], patients: list[str], seed: int
) -> None:
    owner = dict(zip(TEN, patients, strict=True))
    keys = {"test": 2, "validation": 1, "seed": seed}
    try:
        found = split(data(list(order), patients=owner), **keys)
    except ConfigError:
        return
    assert found == split(data(TEN, patients=owner), **keys)
    parts = [{owner[c] for c in part} for part in (found.pool, found.validation, found.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts))
    assert len(found.test) <= 2
    assert len(found.validation) <= 1


def test_the_seed_decides_and_a_new_case_moves_no_other() -> None:
    tests = {split(data(TEN), test=3, seed=seed).test for seed in range(8)}
    assert len(tests) > 3
    before, after = split(data(TEN), test=4), split(data([*TEN, "new"]), test=4)
    assert len(set(before.test) - set(after.test)) <= 1
    assert set(split(data(TEN), test=2).test) < set(before.test)  # nested


def test_unmasked_cases_of_a_test_patient_are_kept_out_of_the_pool() -> None:
    patients = {"c0": "p", "u1": "p", "u2": "q"}
    dataset = data([*TEN, "u1", "u2"], unmasked="u1 u2", patients=patients)
    found = split(dataset, test=["c0"])
    assert (found.test, found.unused, found.unmasked) == (("c0",), ("u1",), ("u2",))
    assert "u1" not in found.pool


def test_lists_may_come_from_the_settings_a_file_or_a_stored_record(tmp_path: Path) -> None:
    dataset = data(TEN)
    listed = split(dataset, test=["c3", "c1"], validation=["c2"])
    assert (listed.test, listed.validation) == (("c1", "c3"), ("c2",))
    path = tmp_path / "split.json"
    hashes = {CaseId(i): i for i in TEN}
    for content in (["c1", "c3"], {"test": ["c1", "c3"]}, listed.record(dataset, hashes)):
        path.write_text(json.dumps(content))
        assert split(dataset, test=str(path)).test == listed.test
    for text in ("{", "{}", '{"test": 3}', "[1]"):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"split\.test: .*split\.json"):
            split(dataset, test=str(path))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"test": 11}, r"split\.test: 11 cases asked for, but 10 of 11 cases"),
        ({"test": 6, "validation": 5}, r"split\.validation: 5 .* 6 are taken"),
        ({"test": 10}, "no case with a mask is left in the pool: 10 have one, 10 are in test"),
        ({"test": ["c99"]}, "no case 'c99', did you mean 'c9'"),
        ({"test": ["u"]}, "case 'u' has no mask"),
        ({"test": ["c0"], "validation": ["c1"]}, "patient p would be in 2 parts .*c0.*c1"),
        ({"test": ["c0"]}, r"patient p would be in 2 parts \(test: c0; pool: c1\)"),
        ({"test": ["c5"], "validation": ["c5"]}, "case c5 would be in 2 parts"),
        ({"test": 1.5}, r"1\.5 is no share"),
        ({"test": -1}, "cases cannot be"),
        ({"tst": 1}, "did you mean 'test'"),
    ],
)
def test_what_cannot_be_split_is_refused_with_names_and_numbers(
    keys: dict[str, Any], words: str
) -> None:
    dataset = data([*TEN, "u"], unmasked="u", patients={"c0": "p", "c1": "p"})
    with pytest.raises(ConfigError, match=words):
        split(dataset, **keys)


def test_patients_larger_than_the_count_are_refused() -> None:
    dataset = data(TEN, patients={c: "pq"[i % 2] for i, c in enumerate(TEN)})
    with pytest.raises(ConfigError, match="patients stay together"):
        split(dataset, test=2)


def test_the_record_holds_hashes_that_anyone_can_recompute() -> None:
    dataset = data(TEN, patients={"c1": "p"})
    hashes = {CaseId(i): f"h{i}" for i in TEN}
    record = split(dataset, test=["c1", "c2"]).record(dataset, hashes)
    part = record["parts"]["test"]
    assert part == {
        "num_cases": 2,
        "cases": ["c1", "c2"],
        "sha256": hashlib.sha256(b"c1\nc2").hexdigest(),
    }
    assert record["images"] == hashes
    assert (record["patients"], record["classes"]) == ({"c1": "p"}, {"a": 1})
    assert json.loads(json.dumps(record)) == record
    changed = split(dataset, test=["c1", "c2"]).record(dataset, hashes | {CaseId("c5"): "x"})
    assert changed["hash"] != record["hash"]
