"""What a reference is: drawn by hand, or made from a box; kinds are recorded and never mixed.

A Dice against an ellipse in a box and one against a drawn outline are different numbers. The kind
is declared for the data set (`data.reference_kind`), or case by case in references.csv (columns
case, kind) beside the data.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from salearn.cases import CaseId
from salearn.data.source import KINDS, Listing
from salearn.errors import DataError
from salearn.settings import nearest

TABLE = "references.csv"


def read_kinds(
    root: Path, masked: Iterable[CaseId], declared: str, listing: Listing | None = None
) -> dict[CaseId, str]:
    """Kind of the reference of each case with a mask; what the table leaves out is `declared`.

    Args:
        listing: takes what is wrong with the table; without one it is raised.

    Raises:
        DataError: the table lacks a column, or names an unknown kind.
    """
    table = root / TABLE
    known = _read(table, listing) if table.is_file() else {}
    return {case: known.get(case, declared) for case in masked}


def one_kind(kinds: Mapping[CaseId, str], cases: Sequence[CaseId], what: str) -> str | None:
    """The kind that all these cases share; None if none of them is known.

    Raises:
        DataError: there are several; the message counts them.
    """
    found: dict[str, list[CaseId]] = {}
    for case in cases:
        if case in kinds:
            found.setdefault(kinds[case], []).append(case)
    if len(found) > 1:
        shown = ", ".join(f"{kind} {len(ids)} (e.g. {ids[0]})" for kind, ids in found.items())
        raise DataError(
            f"{what}: references of several kinds would stand in one table: {shown}; scores "
            "against them are not comparable: split the data set by kind, or name test and "
            f"validation cases of one kind in data.split ({TABLE} and data.reference_kind say "
            "which is which)"
        )
    return next(iter(found), None)


def _read(table: Path, listing: Listing | None) -> dict[str, str]:
    with table.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    if rows and not {"case", "kind"} <= rows[0].keys():
        _wrong("", table, "needs the columns 'case' and 'kind'", "name them in line 1", listing)
        return {}
    for row in rows:
        if row["kind"] not in KINDS:
            problem = f"'{row['kind']}' is no kind of reference"
            _wrong(row["case"], table, problem, nearest(row["kind"], KINDS), listing)
    return {row["case"]: row["kind"] for row in rows}


def _wrong(case: str, table: Path, problem: str, remedy: str, listing: Listing | None) -> None:
    if listing is None:
        raise DataError(f"case {case}, file {table}: {problem}; {remedy}")
    listing.flaw(case, table, problem, remedy)
