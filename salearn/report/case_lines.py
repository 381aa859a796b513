"""Reads cases.jsonl, the many lines of a run, as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import TYPE_CHECKING

from salearn.errors import DataError
from salearn.metrics.evaluate import METRICS

if TYPE_CHECKING:
    import pyarrow as pa

CASE_LABELS = ("split", "stage", "class", "case")
TEXTS = (*CASE_LABELS, "status")
CASES = "cases.jsonl"
TOGETHER = 32  # files
BLOCK = 1 << 24  # bytes


def with_cases(folders: Iterator[Path]) -> Iterator[tuple[Path, pa.Table | None]]:
    """Run folders, each with its case rows where they could be read together with those of others.

    None is left to `read_cases`, which says what is wrong with a file.
    """
    while some := list(islice(folders, TOGETHER)):
        found = _read_together([folder / CASES for folder in some])
        yield from ((folder, found.get(folder / CASES)) for folder in some)


def _read_together(paths: Sequence[Path]) -> dict[Path, pa.Table]:
    """The rows of several small files, read as one: a reader's start takes as long as a file.

    Left out: files that are missing, or hold anything but whole lines, one a row.
    """
    texts = {path: path.read_bytes() for path in paths if path.is_file()}
    whole = {path: text for path, text in texts.items() if text.endswith(b"}\n")}
    if not whole or sum(map(len, whole.values())) > BLOCK:
        return {}
    try:
        table = _lines(b"".join(whole.values()))
    except _broken():
        return {}
    counts = [text.count(b"\n") for text in whole.values()]
    if sum(counts) != table.num_rows:
        return {}
    ends = list(accumulate(counts))
    return {
        path: table.slice(end - count, count)
        for path, count, end in zip(whole, counts, ends, strict=True)
    }


def read_cases(path: Path, labeled: Mapping[int, int], ahead: pa.Table | None = None) -> pa.Table:
    """The rows of finished rounds: round, num_labeled, CASE_LABELS, status and every metric.

    Rows of a round that did not finish are left out: they are written anew when the run goes on.

    Args:
        labeled: annotated units after each finished round.
        ahead: what `with_cases` found in this file.

    Raises:
        DataError: the file is missing or a line is broken.
    """
    import numpy as np
    import pyarrow as pa

    table = _encoded(_parse(path, required=bool(labeled)) if ahead is None else ahead)
    numbers = table["round"].to_numpy()
    finished = np.isin(numbers, list(labeled))
    if not finished.all():  # it mostly is: a filter takes as long as reading the file
        table, numbers = table.filter(pa.array(finished)), numbers[finished]
    count = [labeled[number] for number in numbers.tolist()]
    return table.add_column(1, "num_labeled", pa.array(count, pa.int64()))


def _parse(path: Path, required: bool) -> pa.Table:
    """All complete lines."""
    if required and not path.is_file():
        raise DataError(f"{path}: missing, so this run has no case metrics; run the cell again")
    text = path.read_bytes() if path.is_file() else b""
    try:  # a torn last line belongs to an unfinished round
        return _lines(text[: text.rfind(b"\n") + 1])
    except _broken() as error:
        raise DataError(f"{path}: a line is broken ({error}); run the cell again") from None


def _broken() -> type[Exception]:
    import pyarrow as pa

    return pa.ArrowInvalid  # type: ignore[no-any-return]


def _lines(text: bytes) -> pa.Table:
    """Lines as rows; Arrow's reader is twice as fast as json and knows NaN and Infinity."""
    import pyarrow as pa
    import pyarrow.json as arrow_json

    names = [(name, pa.string()) for name in TEXTS]
    schema = pa.schema([("round", pa.int64()), *names, *((m, pa.float64()) for m in METRICS)])
    if not text:
        return schema.empty_table()
    parse = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    # A block must hold a line; one block for a file of usual size saves joining the pieces.
    size = arrow_json.ReadOptions(use_threads=False, block_size=BLOCK)
    return arrow_json.read_json(pa.BufferReader(text), size, parse)


def _encoded(table: pa.Table) -> pa.Table:
    """Texts as codes: a name that stands a thousand times is kept once."""
    import pyarrow as pa

    columns = [
        table[name].dictionary_encode() if name in TEXTS else table[name]
        for name in table.column_names
    ]
    return pa.table(columns, names=table.column_names)
