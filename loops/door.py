"""What stands at the door: neighbors from one place, and errors turned into one paragraph."""

from __future__ import annotations

import errno
from importlib.util import find_spec
from pathlib import Path

WRONG_USAGE = 2
FAILED = 1


class RefusalError(Exception):
    """A message for the user and the exit code that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def check_neighbors() -> None:
    """Stop if `strategies` or `loops` of another distribution hides ours.

    Raises:
        RefusalError: the three packages do not lie side by side; both paths are named.
    """
    places = {name: _place(name) for name in ("salearn", "strategies", "loops")}
    for name, place in places.items():
        if place != places["salearn"]:
            raise RefusalError(
                f"package '{name}' comes from {place}, salearn from {places['salearn']}: another "
                "distribution owns that name; install salearn in an environment of its own",
                FAILED,
            )


def _place(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def refusal(error: Exception) -> RefusalError | None:
    """The refusal that an error stands for; None for a fault of the program."""
    from salearn.errors import ConfigError, DataError, NotTrainedError, TrainingError, WeightsError

    if isinstance(error, ConfigError):
        return RefusalError(str(error), WRONG_USAGE)
    if isinstance(error, DataError | WeightsError | TrainingError | NotTrainedError):
        return RefusalError(str(error), FAILED)
    if isinstance(error, OSError):
        return RefusalError(_disk(error), FAILED)
    return None


def _disk(error: OSError) -> str:
    where = error.filename or "a file of the run or its store"
    remedies = {
        errno.ENOSPC: "the disk is full: free some space",
        errno.EDQUOT: "the disk quota is used up: free some space",
        errno.EACCES: "no permission: choose another folder with out=... or mend its rights",
        errno.EROFS: "the file system is read-only: choose another folder with out=...",
    }
    remedy = remedies.get(error.errno or 0, f"{error.strerror or error}")
    return f"{where}: {remedy}. Finished rounds are intact; the same command goes on from there."
