"""The ledger of a study: every attempt at every cell, by content key, shared by many sweeps."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from loops.studies.parts import claims_of
from loops.studies.study import Cell
from salearn.claims import STALE_SECONDS, Claim, Claims
from salearn.store import read_lines


class Ledger:
    """Who runs or ran which cell: attempts in the folder `ledger` of a study.

    Attributes:
        sweep: names one call of `sweep`; its attempts, on whatever machine, carry it.
    """

    def __init__(self, out: Path, stale: float = STALE_SECONDS, sweep: str = "") -> None:
        self.claims = Claims(out / "ledger", stale)
        self.out = out
        self.sweep = sweep or uuid.uuid4().hex[:12]
        self._parts: dict[Path, Claims] = {}

    def take(self, cell: Cell) -> Claim | None:
        """Begin an attempt at a cell; None while another process is at it."""
        told = {"name": cell.name, "kind": cell.kind, "sweep": self.sweep}
        return self.claims.take(cell.key, told)

    def free(self, cell: Cell) -> bool:
        """Whether nobody is at a cell or at a part of it."""
        return self.claims.free(cell.key) and not self.in_parts(cell.out)

    def in_parts(self, folder: Path) -> bool:
        """Whether somebody is at a part of the cell in a folder."""
        claims = self._parts.setdefault(folder, claims_of(folder, self.claims.stale))
        return any(not claims.free(part) for part in claims.known())

    def ended(self, cell: Cell) -> int:
        """Number of the last attempt at a cell, less one if that has not ended yet."""
        last = self.claims.last(cell.key) or {"number": 0, "state": "failed"}
        return int(last["number"]) - int(last["state"] == "running")

    def settled(self, cell: Cell, before: int) -> bool:
        """Whether a cell is done, or failed in an attempt later than number `before`."""
        if cell.done:
            return True
        last = self.claims.last(cell.key)
        return bool(last and last["number"] > before and last["state"] == "failed")

    def fail(self, cell: Cell, cause: str) -> bool:
        """Write down that the owner of a cell died for good; False while somebody is at it."""
        claim = self.take(cell)
        if claim is None:
            return False
        claim.end("failed", error=cause)
        return True

    def mine(self, cell: Cell) -> bool:
        """Whether the last attempt at a cell is of this sweep."""
        return (self.claims.last(cell.key) or {}).get("sweep") == self.sweep

    def standing(self, key: str, folder: Path, num_rounds: int) -> dict[str, Any]:
        """How far a cell is: {"status", "error", "rounds", "seconds", "host"}.

        The status is done, running, failed, interrupted (its process died) or unfinished (nobody
        began it); seconds are those of its last attempt.
        """
        rounds = len(read_lines(folder / "rounds.jsonl"))
        last = self.claims.last(key) or {}
        state = last.get("state", "unfinished")
        if state == "running" and self.claims.free(key):
            state = "interrupted"
        if state != "running" and self.in_parts(folder):
            state = "running"
        status = "done" if rounds >= num_rounds else state
        return {
            "status": status if status != "lost" else "interrupted",
            "error": last.get("error") if status == "failed" else None,
            "rounds": rounds,
            "seconds": last.get("seconds"),
            "host": last.get("host"),
        }
