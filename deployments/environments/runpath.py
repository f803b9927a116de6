"""Where an ELF file looks for its libraries, changed so that a moved interpreter finds its own."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PT_LOAD, PT_DYNAMIC = 1, 2
DT_STRTAB, DT_RPATH, DT_RUNPATH = 5, 15, 29


def make_relative(path: Path, *, old_root: Path, new_root: Path) -> bool:
    """Rewrite run paths below `old_root` as `$ORIGIN/…`; `path` is replaced, never written to.

    False when there is nothing to change: no 64-bit little-endian ELF file, no such run path, or
    no room for the new one.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return False
    changed = bytearray(content)
    for start, text in _run_paths(content):
        parts = [
            _relative(part, path, old_root, new_root)
            for part in text.decode("utf-8", "replace").split(":")
        ]
        new = ":".join(parts).encode()
        if len(new) <= len(text):
            changed[start : start + len(text)] = new.ljust(len(text), b"\0")
    if changed == content:
        return False
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(changed)
    shutil.copymode(path, draft)
    os.replace(draft, path)
    return True


def _relative(part: str, path: Path, old_root: Path, new_root: Path) -> str:
    if not Path(part).is_absolute() or not Path(part).is_relative_to(old_root):
        return part
    aim = new_root / Path(part).relative_to(old_root)
    return "$ORIGIN/" + os.path.relpath(aim, path.parent)


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


def _run_paths(content: bytes) -> Iterator[tuple[int, bytes]]:
    """File offset and text of each DT_RPATH and DT_RUNPATH."""
    if content[:6] != b"\x7fELF\x02\x01":
        return
    try:
        segments = _segments(content)
        dynamic = next((segment for segment in segments if segment.kind == PT_DYNAMIC), None)
        if dynamic is None:
            return
        raw = content[dynamic.offset : dynamic.offset + dynamic.size // 16 * 16]
        entries = list(struct.iter_unpack("<qQ", raw))
    except struct.error:
        return
    table = next((value for tag, value in entries if tag == DT_STRTAB), None)
    holder = next(
        (
            segment
            for segment in segments
            if segment.kind == PT_LOAD
            and table is not None
            and segment.address <= table < segment.address + segment.size
        ),
        None,
    )
    if table is None or holder is None:
        return
    strings = table - holder.address + holder.offset
    for tag, value in entries:
        if tag in {DT_RPATH, DT_RUNPATH}:
            start = strings + value
            yield start, content[start : content.index(b"\0", start)]


def _segments(content: bytes) -> list[_Segment]:
    (table,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    segments = []
    for index in range(count):
        kind, _flags, offset, address, _physical, length = struct.unpack_from(
            "<IIQQQQ", content, table + index * size
        )
        segments.append(_Segment(kind, offset, address, length))
    return segments
