"""Claims: who works on what, on a file system that many machines share.

An attempt at a key is one file `root/KEY/NNNN.json`, made at once and in full (a hard link to a
finished file), written only by its owner and never removed: the attempts are the ledger. The next
attempt begins once the last one has ended, or is known to be dead:

- on the same machine the owner holds a `flock` on its file, and the kernel drops it with the owner;
- from another machine its beats are watched. An owner that shows none for `stale` seconds of the
  watcher's own monotonic clock is dead. No two clocks are compared, so clocks may jump.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

STALE_SECONDS = 60.0
BEATS_PER_STALE = 6
WAIT_SECONDS = 0.5
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def machine() -> str:
    """A name of this machine since it booted: containers of one host share it, as flocks do."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


class Claim:
    """An attempt that this process owns; a thread shows that it lives.

    Attributes:
        number: of the attempt at its key, from 1.
    """

    def __init__(self, path: Path, handle: int, record: dict[str, Any], stale: float) -> None:
        self.path, self.number = path, int(path.stem)
        self._handle, self._record = handle, record
        self._start = time.monotonic()
        self._lock, self._end = threading.Lock(), threading.Event()
        self._thread = threading.Thread(
            target=self._beat, args=(stale / BEATS_PER_STALE,), daemon=True
        )
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether another process took this owner for dead, and began the next attempt."""
        return _numbered(self.path.parent, self.number + 1).exists()

    def end(self, state: str, **told: Any) -> None:
        """Write how the attempt ended ("done", "failed", ...) and let go."""
        self._end.set()
        self._thread.join()
        with self._lock:
            self._record |= {"state": state} | told
            self._write()
            os.close(self._handle)

    def _beat(self, every: float) -> None:
        while not self._end.wait(every):
            with self._lock, suppress(OSError):  # a full disk: the next beat may come through
                self._record["beat"] += 1
                self._write()

    def _write(self) -> None:
        self._record["seconds"] = round(time.monotonic() - self._start, 2)
        _write(self._handle, self._record)


class Claims:
    """The attempts at many keys below one folder.

    Attributes:
        stale: seconds without a beat after which an owner on another machine counts as dead.
    """

    def __init__(self, root: Path, stale: float = STALE_SECONDS) -> None:
        self.root, self.stale = root, stale
        self._seen: dict[Path, tuple[bytes, float]] = {}

    def take(self, key: str, told: Mapping[str, Any] | None = None) -> Claim | None:
        """Begin the next attempt at a key; None while another process is at it."""
        # One look at the number: a claim made after it fails at the link, and is not stepped over.
        number = self.newest(key)
        if not self._ended(key, number):
            return None
        path = _numbered(self.root / key, number + 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = dict(told or {}) | {
            "host": socket.gethostname(), "machine": machine(), "pid": os.getpid(),
            "beat": 0, "seconds": 0.0, "state": "running",
        }  # fmt: skip
        handle = _make(path, record)
        return None if handle is None else Claim(path, handle, record, self.stale)

    def known(self) -> list[str]:
        """Every key at which there was an attempt, sorted."""
        return sorted(os.listdir(self.root)) if self.root.is_dir() else []

    def newest(self, key: str) -> int:
        """Number of the last attempt; 0 = there is none."""
        folder = self.root / key
        names = os.listdir(folder) if folder.is_dir() else []
        return max((int(name[:-5]) for name in names if name[:-5].isdigit()), default=0)

    def last(self, key: str) -> dict[str, Any] | None:
        """The record of the last attempt with its "number"; an unreadable one says "running"."""
        number = self.newest(key)
        return self.attempt(key, number) if number else None

    def attempt(self, key: str, number: int) -> dict[str, Any]:
        """The record of one attempt."""
        record = _parsed(_numbered(self.root / key, number).read_bytes())
        return {"state": "running"} | record | {"number": number}

    def free(self, key: str) -> bool:
        """Whether nobody is at a key: no attempt, or the last one ended or its owner is dead."""
        return self._ended(key, self.newest(key))

    def _ended(self, key: str, number: int) -> bool:
        if not number:
            return True
        path = _numbered(self.root / key, number)
        content = path.read_bytes()
        record = _parsed(content)
        if record.get("state", "running") != "running":
            return True
        if record.get("flock") and record.get("machine") == machine():
            return _unlocked(path)
        return self._silent(path, content)

    def _silent(self, path: Path, content: bytes) -> bool:
        """Whether the file has looked the same for `stale` seconds of this process."""
        now = time.monotonic()
        before, since = self._seen.get(path, (b"", now))
        if before != content:
            since = now
        self._seen[path] = (content, since)
        return now - since >= self.stale


@contextmanager
def hold(root: Path, key: str, stale: float = STALE_SECONDS) -> Iterator[None]:
    """Hold a key in the block; waits while another process that lives holds it."""
    claims = Claims(root, stale)
    while (claim := claims.take(key)) is None:
        time.sleep(min(WAIT_SECONDS, stale / BEATS_PER_STALE))
    try:
        yield
    finally:
        claim.end("ended")


def _numbered(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.json"


def _make(path: Path, record: dict[str, Any]) -> int | None:
    """Create the file in full, or nothing if it exists; an open handle on it."""
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        record["flock"] = _flocked(handle)
        _write(handle, record)
        os.link(temporary, path)
        return handle
    except FileExistsError:
        if os.fstat(handle).st_nlink == 2:  # NFS: the answer was lost, the link was made
            return handle
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        if error.errno not in NO_LINKS:
            raise
        return _make_unlinked(path, record)
    finally:
        temporary.unlink()


def _make_unlinked(path: Path, record: dict[str, Any]) -> int | None:
    """The same where there are no hard links; until it is written it is watched like any other."""
    record["flock"] = False
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return None
    _write(handle, record)
    return handle


def _write(handle: int, record: Mapping[str, Any]) -> None:
    content = (json.dumps(record, sort_keys=True, default=str) + "\n").encode()
    os.pwrite(handle, content, 0)
    os.ftruncate(handle, len(content))
    os.fsync(handle)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _flocked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # a file system without locks
        return False
    return True


def _unlocked(path: Path) -> bool:
    with path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
