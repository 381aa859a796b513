"""Everything that writes state: atomic files, content keys, JSON lines, the shared store."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from salearn.claims import hold

CHUNK = 1 << 20
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text. NaN becomes null."""
    try:
        return _dense(value)
    except ValueError:  # NaN or infinity somewhere: not JSON
        return _dense(finite(value))


def _dense(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str, allow_nan=False)


def finite(value: Any) -> Any:
    """The same value as JSON allows it: NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def content_key(*parts: Any) -> str:
    """16 hex digits that name a result by its inputs, settings and code version."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def array_hash(array: np.ndarray) -> str:
    """16 hex digits of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented for people."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, default=str) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file."""
    return json.loads(path.read_text())


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write a file of JSON lines atomically."""
    write_text(path, "".join(canonical(value) + "\n" for value in values))


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line and flush it to disk; a torn or garbled last line is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _cut_torn_line(handle)
        handle.write((canonical(value) + "\n").encode())
        handle.flush()
        os.fsync(handle.fileno())


def _cut_torn_line(handle: Any) -> None:
    size = handle.seek(0, os.SEEK_END)
    if size == 0:
        return
    tail = _tail(handle, size)
    kept = size - len(tail) + len(_whole(tail))
    if kept != size:
        handle.truncate(kept)
    handle.seek(0, os.SEEK_END)


def _tail(handle: Any, size: int) -> bytes:
    """The last bytes of a file, from the start of a line: at least one whole line if there is."""
    length = 4096
    while True:
        handle.seek(max(0, size - length))
        text: bytes = handle.read()
        if length >= size:
            return text
        if text.count(b"\n") >= 3:  # begins within a line; two more are whole
            return text[text.find(b"\n") + 1 :]
        length *= 4


def _whole(text: bytes) -> bytes:
    """The text up to its last complete line; one of zero bytes is what a power cut may leave."""
    text = text[: text.rfind(b"\n") + 1]
    start = text[:-1].rfind(b"\n") + 1
    return text[:start] if b"\0" in text[start:] else text


def read_lines(path: Path) -> list[Any]:
    """All complete JSON lines; a torn or garbled last line (the writer was killed) is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in _whole(path.read_bytes()).splitlines()]


@dataclass(frozen=True)
class Store:
    """Expensive results by kind and content key, shared by every process that names the folder.

    An entry is a folder; it exists in full or not at all. A lock beside it lets one process make
    it while others wait; the lock dies with its process, so a killed maker blocks nobody. Where
    the file system has no `flock`, or a file CLAIMS lies in the root (for network mounts whose
    `flock` ends at the machine), claims with beats take its place: `salearn.claims`.
    """

    root: Path

    def path(self, kind: str, key: str) -> Path:
        """Where an entry lies, whether it is made or not."""
        return self.root / kind / key

    def has(self, kind: str, key: str) -> bool:
        """Whether the entry is complete."""
        return self.path(kind, key).is_dir()

    def get(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of an entry, made by `make(folder)` if it is not there yet.

        `make` gets a work folder that survives being killed (so it may keep checkpoints there);
        files that start with "_" are dropped when the entry is complete.
        """
        final = self.path(kind, key)
        if final.is_dir():
            return final
        with self._lock(kind, key):
            if not final.is_dir():
                work = final.with_name(f".{key}.work")
                work.mkdir(parents=True, exist_ok=True)
                make(work)
                _drop_private(work)
                os.replace(work, final)
        return final

    @contextmanager
    def _lock(self, kind: str, key: str) -> Iterator[None]:
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{key}.lock").open("w") as handle:
            if not (self.root / "CLAIMS").exists() and _locked(handle):
                yield
                return
        with hold(folder / ".claims", key):
            yield


def _locked(handle: Any) -> bool:
    """Wait for the lock; False where the file system has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise
    return True


def _drop_private(folder: Path) -> None:
    for path in folder.glob("_*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            _flush(path)
