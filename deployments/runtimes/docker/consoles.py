"""Consoles of containers, as the engine keeps them: lines with their time, and the server's own word on its state."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import requests
from docker.errors import APIError
from urllib3.exceptions import ReadTimeoutError

from deployments.runtimes import LogLine
from deployments.runtimes.docker.engines import Engine
from deployments.runtimes.printable import printable
from deployments.runtimes.records import ServerStatus, told_status
from deployments.runtimes.telling import LOOKED_AT, telling

STATUS_MARK = "\x1eportico-status "
"""What `inference_server.status` puts before its state: for us, and for nobody else to see."""
HEADER = struct.Struct(">BxxxL")
LINE_LENGTH = 500
LONGEST_LINE = 1 << 16
SILENCE_SECONDS = 60
CONNECT_SECONDS = 5
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Read = Callable[[int], bytes]


def lines_since(engine: Engine, container: str, since: datetime) -> Iterator[LogLine]:
    """What the console holds from then on; nothing when the container is gone."""
    with contextlib.suppress(APIError), _opened(engine, container, since=_stamp(since)) as reply:
        yield from _without_status(_lines(_reader(reply)))


def follow(engine: Engine, container: str, since: datetime) -> Iterator[LogLine]:
    """The same, and then each new line, until the container ends, the engine goes away or nothing comes for a while.

    Whoever wants more begins again: an engine that turns over a flooded log may lose its own followers for ever.
    """
    with (
        contextlib.suppress(APIError),
        _opened(engine, container, since=_stamp(since), follow="1") as reply,
        contextlib.suppress(ReadTimeoutError),
    ):
        yield from _without_status(_lines(_reader(reply)))


def last_words(
    engine: Engine, container: str, since: datetime | None
) -> tuple[ServerStatus, tuple[str, ...]]:
    """What the server last said of itself, and the telling lines that everybody may see."""
    status = ServerStatus()
    texts: list[str] = []
    with (
        contextlib.suppress(APIError),
        _opened(engine, container, since=_stamp(since or LONG_AGO), tail=str(LOOKED_AT)) as reply,
    ):
        for line in _lines(_reader(reply)):
            text, mark, told = line.text.partition(STATUS_MARK)
            if mark:
                status = told_status(told)
            if text.strip():
                texts.append(printable(text[:LINE_LENGTH]))
    return status, telling(texts)


@contextlib.contextmanager
def _opened(engine: Engine, container: str, **wishes: str) -> Iterator[requests.Response]:
    with engine.asking() as api:
        reply = api.get(
            f"{api.base_url}/v{api.api_version}/containers/{container}/logs",
            params={"stdout": "1", "stderr": "1", "timestamps": "1", **wishes},
            stream=True,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS if "follow" in wishes else api.timeout),
        )
        with contextlib.closing(reply):
            if reply.status_code != 200:
                raise APIError(reply.reason, response=reply)
            yield reply


def _reader(reply: requests.Response) -> Read:
    raw: Any = reply.raw

    def read(size: int) -> bytes:
        parts = []
        while size:
            part = raw.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    return read


def _lines(read: Read) -> Iterator[LogLine]:
    """Lines out of the engine's frames: a long one comes in parts, each with a time of its own."""
    parts: dict[int, tuple[datetime, bytes]] = {}
    while len(header := read(HEADER.size)) == HEADER.size:
        stream, size = HEADER.unpack(header)
        stamp, _, text = read(size).partition(b" ")
        time, begun = parts.pop(stream, (None, b""))
        time = time or _time(stamp)
        if time is None:
            continue
        text = begun + text
        if text.endswith(b"\n") or len(text) > LONGEST_LINE:
            yield LogLine(time, text.rstrip(b"\r\n").decode(errors="replace"))
        else:
            parts[stream] = (time, text)
    for time, text in parts.values():
        yield LogLine(time, text.decode(errors="replace"))


def _without_status(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    for line in lines:
        text, mark, _ = line.text.partition(STATUS_MARK)
        if not mark:
            yield line
        elif text:
            yield LogLine(line.time, text)


def _time(stamp: bytes) -> datetime | None:
    return time_of(stamp.decode(errors="replace"))


def time_of(text: str) -> datetime | None:
    """Docker's time, to the microsecond; None for none and for its zero."""
    with contextlib.suppress(ValueError):
        whole, _, fraction = text.removesuffix("Z").partition(".")
        found = datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}")
        return found.replace(tzinfo=UTC) if found.year > 1 else None
    return None


def _stamp(time: datetime) -> str:
    """For the engine, which takes seconds with a fraction."""
    moment = max(time.astimezone(UTC), LONG_AGO) if time.year > 1 else LONG_AGO
    span = moment - LONG_AGO
    return f"{span.days * 86400 + span.seconds}.{span.microseconds:06d}000"
