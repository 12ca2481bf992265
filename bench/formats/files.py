"""Opening what people bring, plain, compressed, archived or in folders; writing so that nothing is half-written."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bench.errors import DataError

HEAD_BYTES = 1 << 16
MAX_BYTES = 1 << 30
"""Largest single file taken into memory once decompressed; a compressed bomb ends here."""

_UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError)
_ARCHIVES = (".tar", ".tar.xz", ".tar.gz", ".tgz", ".tar.bz2")


@dataclass(frozen=True)
class Member:
    """One file of what was brought: its name for messages and labels, and its bytes."""

    name: str
    content: bytes


def is_archive(path: Path) -> bool:
    """Whether the name says tar."""
    return path.name.endswith(_ARCHIVES)


def require(path: Path) -> None:
    """Raises a DataError where nothing is there."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder.")


def refuse_pickle(where: object, head: bytes) -> None:
    """Raises a DataError where the first bytes are those of a Python pickle."""
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise DataError(
            f"{where}: is a Python pickle, which is never opened, because opening one can run any code. "
            "Convert it to JSONL where you trust it (docs/bring-your-logs.md)."
        )


@contextmanager
def readable(path: Path, what: str = "") -> Iterator[None]:
    """Turns what a broken or cut-off file raises into one DataError."""
    try:
        yield
    except _UNREADABLE as error:
        broken = "cut off or damaged" if isinstance(error, (EOFError, zlib.error, lzma.LZMAError)) else "cannot be read"
        raise DataError(
            f"{path}{what}: {broken} ({str(error) or type(error).__name__}). Nothing was taken from it; "
            "copy or download it again."
        ) from error


def open_binary(path: Path) -> BinaryIO:
    """Opens a file for reading, through gzip where the name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def members(path: Path) -> Iterator[Member]:
    """Every regular file of a file, folder or tar archive, one at a time, gzipped ones decompressed; archives are
    streamed, not unpacked to disk.

    Folders are walked in sorted order; archives inside folders are passed over.

    Raises:
        DataError: nothing there, damaged, or larger than `MAX_BYTES`.
    """
    require(path)
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not is_archive(p)):
            yield Member(str(file), _content(file))
    elif is_archive(path):
        yield from _archive_members(path)
    else:
        yield Member(str(path), _content(path))


def heads(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and first `HEAD_BYTES` bytes of what `members` would yield."""
    require(path)
    if is_archive(path) and path.is_file():
        yield from ((member.name, member.content) for member in _archive_members(path, HEAD_BYTES))
        return
    files = sorted(p for p in path.rglob("*") if p.is_file() and not is_archive(p)) if path.is_dir() else [path]
    for file in files:
        with readable(file), open_binary(file) as handle:
            yield str(file), handle.read(HEAD_BYTES)


def _content(path: Path) -> bytes:
    with readable(path), open_binary(path) as handle:
        content = handle.read(MAX_BYTES + 1)
    _check_size(path, len(content))
    return content


def _archive_members(path: Path, limit: int = -1) -> Iterator[Member]:
    with readable(path), tarfile.open(path, "r|*") as archive:
        for info in archive:
            if info.isfile():
                _check_size(f"{path}, member {info.name}", info.size)
                file = archive.extractfile(info)
                content = gzip.GzipFile(fileobj=file) if info.name.endswith(".gz") else file
                found = content.read(limit if limit >= 0 else MAX_BYTES + 1)
                _check_size(f"{path}, member {info.name}", len(found))
                yield Member(f"{path}:{info.name}", found)


def _check_size(where: object, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{where}: larger than {MAX_BYTES >> 20} MiB once decompressed. Split it into several files.")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        DataError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror or error}). What was there before is untouched."
        ) from error


def clean_text(text: str) -> str:
    """Replaces halves of surrogate pairs, which no file can hold, by the replacement character."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
