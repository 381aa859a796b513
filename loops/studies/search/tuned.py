"""What a search found, as settings of a run or a study that names its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from salearn.cases import CaseId
from salearn.config import override, put, read_yaml
from salearn.errors import ConfigError
from salearn.store import file_hash


def with_tuned(values: Mapping[str, Any], changes: Sequence[str] = ()) -> dict[str, Any]:
    """A copy of `values` with what `tuned: FILE` holds put in, and then the changes.

    What the file sets wins over `values`; changes of the command line and factors of a study win
    over both. `tuned` then describes the search itself, so a run's own config needs no file.

    Raises:
        ConfigError: the file is not what `salearn search` writes.
    """
    whole = override(values, changes)
    named = whole.get("tuned")
    if not isinstance(named, str):
        return whole
    found = read_yaml(Path(named))
    if not {"overrides", "proxy"} <= found.keys():
        raise ConfigError(
            f"tuned: {named} is not what a search writes; name the best.yaml of `salearn search`"
        )
    whole = override(with_inner(values, found["overrides"]), changes)
    whole["tuned"] = {"file": named, "sha256": file_hash(Path(named)), **found["proxy"]}
    return whole


def with_inner(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `values` with inner settings put in; a section that needs a name keeps it."""
    from loops.config import RunConfig

    changed = override(values, [])
    for key, value in overrides.items():
        root = key.partition(".")[0]
        if root in ("arm", "learner") and root not in changed:
            changed[root] = dict(getattr(RunConfig(), root))
        put(changed, key, value)
    return changed


def sentence(tuned: Mapping[str, Any]) -> str:
    """What a tuned run has to say about its budget."""
    masks = len(tuned["train"]) + len(tuned["validation"])
    return (
        f"settings of {tuned['file']} were chosen on {masks} masks of the pool (proxy "
        f"{tuned['hash']}): they were paid for besides the budget of this run"
    )


def refuse_seen(tuned: Mapping[str, Any] | None, test: tuple[CaseId, ...]) -> None:
    """Refuse settings that were chosen by looking at cases of this test set.

    Raises:
        ConfigError: naming the cases.
    """
    seen = {*(tuned or {}).get("train", ()), *(tuned or {}).get("validation", ())}
    if both := sorted(seen & set(test)):
        raise ConfigError(
            f"tuned: these settings were chosen on {', '.join(both[:3])}, which are test cases "
            "here; search again with this data.split, or take `tuned` away"
        )
