"""The worker's end of the requests socket, where one message is one request.

Runs in the deployment's interpreter: standard library, Python 3.8 to 3.13.
"""

from __future__ import annotations

import array
import socket

from inference_server.frames import IN_FILE, INLINE_BYTES, REQUEST
from inference_server.scoring_request import Request

# What is gathered for one call is all in memory at once; past this, no more is added to it.
GATHERED_BYTES = 8 * 1024 * 1024
DESCRIPTOR_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)


class Inbox:
    """Reads requests. What has been read can no longer be taken back by the I/O process."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._buffer = bytearray(INLINE_BYTES + REQUEST.size)
        self._view = memoryview(self._buffer)
        self._buffers = [self._buffer]

    def wait(self) -> Request | None:
        """The next request, cut out of a buffer that the one after it will use; None at the end."""
        return self._receive(0)

    def gather(self, first: Request, at_most: int) -> list[Request]:
        """`first` and what waits behind it, oldest first; does not wait for more."""
        together = [first]
        if at_most < 2:
            return together
        first.keep()
        size = first.size
        while len(together) < at_most and size < GATHERED_BYTES:
            try:
                request = self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            if request is None:
                break
            request.keep()
            size += request.size
            together.append(request)
        return together

    def _receive(self, flags: int) -> Request | None:
        size, ancillary, _, _ = self._requests.recvmsg_into(self._buffers, DESCRIPTOR_SPACE, flags)
        if not size:
            return None
        fields = REQUEST.unpack_from(self._buffer)
        if fields[2] & IN_FILE:
            return Request(fields, memoryview(read_attached(ancillary)))
        return Request(fields, self._view[REQUEST.size : size])


def read_attached(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """All of the memory file whose descriptor came with a message."""
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    with open(descriptors[0], "rb", buffering=0) as file:
        file.seek(0)
        return file.readall()
