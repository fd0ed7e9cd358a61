"""Object files kept on disk from one run to the next.

A file's name is a hash of everything that it depends on: the program's text, processor, compiler.  It begins with a
hash of its contents, so that what is damaged is compiled again.  Files appear whole or not at all.  Since they are
executed, the directory must belong to this user, and nobody else may write to it.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

__all__ = ["fetch", "keep", "key"]

_MOST = 4000  # files; the older half goes when there are more


def key(*parts: str) -> str:
    """A name for what depends on these."""
    return sha256("\0".join(parts).encode()).hexdigest()


def fetch(name: str) -> bytes | None:
    """What was kept by this name, if it is there and undamaged."""
    directory = _directory()
    try:
        data = (directory / name).read_bytes() if directory else b""
    except OSError:
        return None
    digest, contents = data[:32], data[32:]
    return contents if contents and sha256(contents).digest() == digest else None


def keep(name: str, contents: bytes) -> None:
    """Keep it, if there is a place: a full or read-only disk is no error."""
    directory = _directory()
    if directory is None:
        return
    try:
        handle, temporary = tempfile.mkstemp(dir=directory)
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(sha256(contents).digest() + contents)
        Path(temporary).replace(directory / name)
        _prune(directory)
    except OSError:
        Path(temporary).unlink(missing_ok=True)


def _directory() -> Path | None:
    """Where: `CHAINRULE_CACHE` (empty: nowhere), or the platform's place for caches; None if it is not safe."""
    given = os.environ.get("CHAINRULE_CACHE")
    if given == "":
        return None
    try:
        directory = Path(given) if given else _place() / "chainrule" / "kernels"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except (OSError, RuntimeError):  # no home directory
        return None
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        return None
    return directory


def _place() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _prune(directory: Path) -> None:
    files = list(directory.iterdir())
    if len(files) > _MOST:
        for file in sorted(files, key=lambda f: f.stat().st_mtime)[: len(files) // 2]:
            file.unlink(missing_ok=True)
