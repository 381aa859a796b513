"""A folder of generated data: made once, never over something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from salearn.errors import ConfigError


def is_there(last: Path, truth: Path, order: dict[str, Any]) -> bool:
    """Whether just what `order` asks for is there; a folder with other data is left alone.

    Args:
        last: the file that is written last: with it everything is there.
        truth: JSON file beside it that begins with the order it was made by.
        order: plain values: settings, number of cases, version of the code.

    Raises:
        ConfigError: `last` is there and was not made by this order.
    """
    if not last.exists():
        return False
    known = json.loads(truth.read_text()) if truth.is_file() else {}
    if {key: known.get(key) for key in order} != json.loads(json.dumps(order)):
        raise ConfigError(f"{last.parent} holds another data set already; name a new folder")
    return True
