"""Reads cases.jsonl, the many lines of a run, as columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from salearn.errors import DataError
from salearn.metrics.evaluate import METRICS

if TYPE_CHECKING:
    import pyarrow as pa

CASE_LABELS = ("split", "stage", "class", "case")
TEXTS = (*CASE_LABELS, "status")


def read_cases(path: Path, labeled: Mapping[int, int]) -> pa.Table:
    """The rows of finished rounds: round, num_labeled, CASE_LABELS, status and every metric.

    Rows of a round that did not finish are left out: they are written anew when the run goes on.

    Args:
        labeled: annotated units after each finished round.

    Raises:
        DataError: the file is missing or a line is broken.
    """
    import numpy as np
    import pyarrow as pa

    table = _parse(path, required=bool(labeled))
    numbers = table["round"].to_numpy()
    finished = np.isin(numbers, list(labeled))
    if not finished.all():  # it mostly is: a filter takes as long as reading the file
        table, numbers = table.filter(pa.array(finished)), numbers[finished]
    count = [labeled[number] for number in numbers.tolist()]
    return table.add_column(1, "num_labeled", pa.array(count, pa.int64()))


def _parse(path: Path, required: bool) -> pa.Table:
    """All complete lines; Arrow's reader is twice as fast as json and knows NaN and Infinity."""
    import pyarrow as pa
    import pyarrow.json as arrow_json

    if required and not path.is_file():
        raise DataError(f"{path}: missing, so this run has no case metrics; run the cell again")
    text = path.read_bytes() if path.is_file() else b""
    text = text[: text.rfind(b"\n") + 1]  # a torn last line belongs to an unfinished round
    names = [(name, pa.string()) for name in TEXTS]
    schema = pa.schema([("round", pa.int64()), *names, *((m, pa.float64()) for m in METRICS)])
    if not text:
        return _encoded(schema.empty_table())
    parse = arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    # A block must hold a line; one block for a file of usual size saves joining the pieces.
    size = arrow_json.ReadOptions(use_threads=False, block_size=1 << 24)
    try:
        return _encoded(arrow_json.read_json(pa.BufferReader(text), size, parse))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: a line is broken ({error}); run the cell again") from None


def _encoded(table: pa.Table) -> pa.Table:
    """Texts as codes: a name that stands a thousand times is kept once."""
    import pyarrow as pa

    columns = [
        table[name].dictionary_encode() if name in TEXTS else table[name]
        for name in table.column_names
    ]
    return pa.table(columns, names=table.column_names)
