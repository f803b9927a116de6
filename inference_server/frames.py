"""The wire between the I/O process and its workers, and nothing else.

Both sides import it, the workers in the deployment's interpreter: standard library, Python 3.8 on.
"""

import struct

# id, method, flags, allowed milliseconds, bytes of query, bytes of headers, bytes of body
REQUEST = struct.Struct("<IBBIHIQ")
# id, kind, flags, status, bytes of headers, bytes of body, milliseconds in run() (negative: none)
ANSWER = struct.Struct("<IBBHIQd")
# The way back over the answers socket: the id of a stream that nobody reads any more.
CANCEL = struct.Struct("<I")

METHODS = ("GET", "POST", "OPTIONS")
GET, POST = 0, 1
FORM_BODY, JSON_BODY, IN_FILE, CSV_BODY, INVOCATIONS = 1, 2, 4, 8, 16  # flags of a request
WHOLE, STREAM_HEAD, STREAM_PART, STREAM_END, STREAM_BROKEN, READY, FAILED, FORKED, ENDED = range(9)
RUN_FAILED, OWN_HEADERS, TIMED_OUT = 1, 2, 4  # flags of an answer

# A request larger than this travels in a memory file; its descriptor comes with the message.
INLINE_BYTES = 32 * 1024
