"""A finished study as one file that another person can repeat and check."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from loops.progress import Progress
from loops.studies.standing import study_status
from salearn.config import override
from salearn.errors import ConfigError, DataError
from salearn.store import atomic, canonical, file_hash, read_json, read_lines

FORMAT = "salearn study 1"
MANIFEST = "manifest.json"
CELL_FILES = (
    "config.yaml", "run.json", "split.json", "rounds.jsonl", "queries.jsonl", "cases.jsonl",
    "trainings.jsonl", "timings.jsonl",
)  # fmt: skip


def export_study(folder: Path, out: Path) -> dict[str, Any]:
    """Pack configs, tables, query logs and hashes of the finished cells into a .tar.gz.

    Equal studies give equal files: no times, no owners. Images, masks and weights stay out; their
    SHA-256 are in each split.json, so who repeats the study knows whether the data are the same.

    Returns:
        {"archive", "sha256", "cells", "left_out", "bytes"}.

    Raises:
        ConfigError: no study in the folder, or none of its cells is finished.
    """
    status = study_status(folder)
    done = [row for row in status["cells"] if row["status"] == "done"]
    if not done:
        raise ConfigError(f"{folder}: no cell is finished yet, there is nothing to pack")
    files = dict(_files(folder, done))
    cells = [
        {"key": row["key"], "folder": row["folder"], "factors": row["factors"]} for row in done
    ]
    manifest = {
        "format": FORMAT,
        "name": status["name"],
        "cells": cells,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    with atomic(out) as temporary:
        _pack(temporary, {MANIFEST: (canonical(manifest) + "\n").encode()} | files)
    return {
        "archive": str(out),
        "sha256": file_hash(out),
        "cells": len(done),
        "left_out": [row["folder"] for row in status["cells"] if row["status"] != "done"],
        "bytes": out.stat().st_size,
    }


def verify(
    archive: Path,
    changes: Sequence[str] = (),
    *,
    seed: int | None = None,
    key: str | None = None,
    tolerance: float = 0.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check every hash of an archive, run one of its cells anew and compare what comes out.

    The cell starts from nothing, in an empty folder with an empty store.

    Args:
        changes: overrides of places, e.g. data.root=/my/copy, sam.weights=/my/copy.
        seed: of the draw of the cell; None = another one each time. key: names it instead.
        tolerance: greatest difference of a Dice that passes; 0 = the records are equal to the bit.
            Another processor rounds otherwise, so elsewhere a little is needed.

    Returns:
        {"archive", "cell", "key", "bit_equal", "same_data", "same_queries", "dice_difference",
        "ok"}.

    Raises:
        DataError: not such an archive, or a file in it is not what its hash says.
    """
    with tempfile.TemporaryDirectory(prefix="verify") as name:
        root = Path(name)
        manifest = _unpack(archive, root / "archive")
        cell = _draw(manifest["cells"], seed, key, archive)
        told = root / "archive" / cell["folder"]
        ran = _run_again(told / "config.yaml", root, changes, progress or Progress())
        found = _compare(told, ran)
    passes = found["bit_equal"] or (
        tolerance > 0
        and found["same_queries"]
        and found["dice_difference"] is not None
        and found["dice_difference"] <= tolerance
    )
    ok = found["same_data"] and passes
    return {"archive": str(archive), "cell": cell["folder"], "key": cell["key"], **found, "ok": ok}


def _files(folder: Path, done: Sequence[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    yield "study.json", (canonical(_lasting(read_json(folder / "study.json"))) + "\n").encode()
    rows = [{"cell": row["folder"], **one} for row in done for one in _metrics(folder, row)]
    yield "tables/rounds.jsonl", "".join(canonical(row) + "\n" for row in rows).encode()
    for row in done:
        for name in CELL_FILES:
            path = folder / row["folder"] / name
            if path.exists():
                yield f"{row['folder']}/{name}", path.read_bytes()


def _lasting(study: dict[str, Any]) -> dict[str, Any]:
    """The study without what depends on when and where it ran."""
    cells = [
        {k: v for k, v in row.items() if k not in ("seconds", "host")} for row in study["cells"]
    ]
    return study | {"cells": cells}


def _metrics(folder: Path, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for record in read_lines(folder / row["folder"] / "rounds.jsonl"):
        for metric in record["metrics"]:
            yield {"round": record["round"], "num_labeled": record.get("num_labeled"), **metric}


def _pack(path: Path, files: dict[str, bytes]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


def _unpack(archive: Path, out: Path) -> dict[str, Any]:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(out, filter="data")
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text())
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise DataError(
            f"{archive}: not an archive of a study ({error}); `salearn export study` makes one"
        ) from None
    if manifest.get("format") != FORMAT:
        raise DataError(f"{archive}: format {manifest.get('format')}, this version reads {FORMAT}")
    for name, told in manifest["files"].items():
        path = out / name
        if not path.is_file() or file_hash(path) != told:
            raise DataError(
                f"{archive}: {name} is missing or was changed (SHA-256 is not {told[:12]}); "
                "ask for the archive again"
            )
    return manifest


def _draw(
    cells: Sequence[dict[str, Any]], seed: int | None, key: str | None, archive: Path
) -> dict[str, Any]:
    if key is None:
        return cells[int(np.random.default_rng(seed).integers(len(cells)))]
    for cell in cells:
        if cell["key"] == key:
            return cell
    raise ConfigError(f"{archive}: no cell of key {key}; keys: {[c['key'] for c in cells][:5]}")


def _run_again(config: Path, root: Path, changes: Sequence[str], progress: Progress) -> Path:
    from loops.cell import run_cell
    from loops.config import parse_run

    values = override(yaml.safe_load(config.read_text()), changes)
    places = {"out": str(root / "run"), "store": str(root / "store"), "sinks": []}
    run_cell(parse_run(values | places, str(config.name)), progress)
    return root / "run"


def _compare(told: Path, ran: Path) -> dict[str, Any]:
    before, after = (read_lines(folder / "rounds.jsonl") for folder in (told, ran))
    gaps = [
        abs(a[1] - b[1])
        for x, y in zip(before, after, strict=False)
        for a, b in zip(_dice(x), _dice(y), strict=False)
        if a[0] == b[0] and None not in (a[1], b[1])
    ]
    return {
        "bit_equal": before == after,
        "same_data": read_json(told / "split.json") == read_json(ran / "split.json"),
        "same_queries": _picks(before) == _picks(after),
        "dice_difference": max(gaps, default=None),
    }


def _dice(record: dict[str, Any]) -> list[tuple[tuple[Any, ...], Any]]:
    return [
        ((row.get("split"), row.get("stage"), row["class"]), row.get("dice"))
        for row in record["metrics"]
    ]


def _picks(records: Sequence[dict[str, Any]]) -> list[Any]:
    return [record.get("selected") for record in records]
