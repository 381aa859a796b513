"""Take returned masks into the log of a run: what is right is taken, the rest stays open."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from loops.annotation.manifest import Manifest, Sheet
from loops.annotation.people import Asked, People
from loops.annotation.query import open_run
from loops.annotation.returned import Findings, Notes, Place, look
from loops.cell import claimed, describe
from loops.workbench import Workbench
from salearn.cases import UnitId
from salearn.data.source import ENDINGS
from salearn.errors import ConfigError, DataError
from salearn.store import atomic, file_hash

MASKS = "masks"  # folder of accepted masks in a run folder


def annotate(
    folder: Path,
    run: Path | None = None,
    confirm: Collection[str] = (),
    close: bool = False,
    masks: Path | None = None,
) -> dict[str, Any]:
    """Check every mask of a worklist and add the good ones to the log of its run.

    The same call again adds nothing. Accepted masks are copied into the run folder.

    Args:
        run: the run folder, if it moved since the list was written.
        confirm: units or cases that are right although untouched or empty.
        masks: folder of the returned masks, if they are not in the list's own masks/.
        close: go on without what is still open; with nothing returned the list is withdrawn.

    Returns:
        {"run", "round", "accepted", "already", "open", "complete", "findings", "warnings"}.

    Raises:
        DataError: the folder is no worklist.
        ConfigError: the list belongs to another run.
    """
    manifest = Manifest.read(folder)
    bench = open_run(run or Path(manifest.run))
    with claimed(bench.out):
        describe(bench)
        people = People(bench)
        asked = _own(bench, people, manifest, folder)
        before = people.returned(asked)
        place = Place(folder=folder, masks=masks or folder / "masks")
        looks = _take(bench, people, asked, manifest, place, Notes.read(folder, confirm))
        refused = [line for one in looks for line in one.refused]
        people.refuse(asked.round, refused)
        if close and people.open(asked):
            asked = people.close(asked)
        accepted = [unit for unit in people.returned(asked) if unit not in before]
        waiting = people.open(asked)
    return {
        "run": str(bench.out), "round": asked.round,
        "accepted": accepted, "already": before, "open": waiting, "complete": not waiting,
        "findings": refused,
        "warnings": [line for one in looks for line in one.warnings],
    }  # fmt: skip


def _own(bench: Workbench, people: People, manifest: Manifest, folder: Path) -> Asked:
    """The round that the list belongs to.

    Raises:
        ConfigError: the run has other settings, or asked for something else.
    """
    asked = people.asked(manifest.round)
    if manifest.key != bench.config.key or asked is None or manifest.units() != list(asked.units):
        raise ConfigError(
            f"{folder}: this list is not what {bench.out} asked for in round {manifest.round}; "
            "name the right run with --run, or make a new list with `salearn query`"
        )
    return asked


def _take(
    bench: Workbench, people: People, asked: Asked, manifest: Manifest, place: Place, notes: Notes
) -> list[Findings]:
    """Look at every case; log what is good at once, so that a kill loses nothing."""
    waiting = set(people.open(asked))
    looks = []
    for sheet in manifest.sheets:
        units = [UnitId(unit) for unit in sheet.units if unit in waiting]
        if units:
            found = look(bench, sheet, place, units, notes)
            _accept(bench, asked, found, notes)
        else:
            found = _changed_since(bench, asked, sheet, place)
        looks.append(found)
    return looks


def _accept(bench: Workbench, asked: Asked, found: Findings, notes: Notes) -> None:
    if not found.good or found.file is None:
        return
    file = _stored(bench, found)
    for unit in found.good:
        source: dict[str, Any] = {"by": "person", "file": file, "sha256": found.sha256}
        if unit in notes.minutes:
            source["reported_minutes"] = notes.minutes[unit]
        bench.oracle.accept(unit, asked.round, source)


def _stored(bench: Workbench, found: Findings) -> str:
    """Copy an accepted mask into the run folder; its path there."""
    assert found.file is not None
    ending = next(e for e in ENDINGS if found.file.name.lower().endswith(e))
    name = found.file.name[: -len(ending)]
    file = Path(MASKS) / f"{name}-{found.sha256[:12]}{ending}"
    target = bench.out / file
    if not target.exists():
        with atomic(target) as temporary:
            shutil.copyfile(found.file, temporary)
    if file_hash(target) != found.sha256:
        target.unlink()
        raise DataError(f"{found.file}: it changed while it was checked; save it, then annotate")
    return str(file)


def _changed_since(bench: Workbench, asked: Asked, sheet: Sheet, place: Place) -> Findings:
    """Warn of a mask that was edited after it had been accepted."""
    file = place.packed(sheet)
    found = Findings(file=file)
    lines = bench.oracle.annotated(asked.round)
    known = {lines[UnitId(unit)].get("sha256") for unit in sheet.units if UnitId(unit) in lines}
    if known and file.is_file() and file_hash(file) not in known:
        problem = "was edited after it had been accepted; the accepted one stands"
        line = {"case": sheet.case, "units": list(sheet.units), "file": str(found.file)}
        remedy = "nothing to do, unless the accepted one is wrong: then begin a new run"
        found.warnings.append(line | {"problem": problem, "remedy": remedy})
    return found
