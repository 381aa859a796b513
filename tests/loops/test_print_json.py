"""The fast way to print rows gives the text of `json.dumps(..., indent=1)`."""

import json
import math
from typing import Any

import numpy as np
import pytest

from loops.verbs.common import BATCH, print_json
from salearn.store import finite

BREAK = "},\n  {"  # what stands between two rows, as a text
PLAIN: dict[str, Any] = {"a": 1, "b": -0.5, "c": BREAK, "d": None, "e": True, BREAK: "\u00e9"}
ODD: list[Any] = [{}, {"a": math.nan}, {"a": [1, {"b": ()}]}, {"a": np.float64(1.5)}, 7, [], "x"]
MIXED: list[Any] = [
    {
        "k": k,
        "b": k % 2 == 0,
        "x": math.nan if k == 9 else k / 3,
        "%": None if k % 5 else "%s",
        "1": 1,
    }
    for k in range(BATCH + 7)
]
LISTS = [
    [PLAIN] * BATCH,
    [PLAIN] * (2 * BATCH + 1),
    [*[PLAIN] * BATCH, *ODD],
    ODD * BATCH,
    MIXED,
    [*MIXED, {"k": 1}],
]


@pytest.mark.parametrize("value", [*LISTS, [], [PLAIN], ODD, PLAIN, {"a": ODD}, None])
def test_a_printed_document_is_what_json_would_indent(
    value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json(value)
    want = json.dumps(finite(value), indent=1, default=str, allow_nan=False)
    assert capsys.readouterr().out == want + "\n"
