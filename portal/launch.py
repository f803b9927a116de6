"""Turns itself into a child of the supervisor: a standalone standard-library script.

    python -I -S launch.py <supervisor's pid> <death signal> <uid> <gid> <program> <argument>...

What must happen between fork and exec happens here, in a process of its own, because running Python between the two
is unsafe. The child gets `death signal` when the supervisor dies, however that dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
KEEP_USER = -1


def main() -> None:
    """Take the user, arm the death signal, become the program."""
    supervisor, death_signal, uid, gid = (int(word) for word in sys.argv[1:5])
    program = sys.argv[5:]
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.umask(0o022)  # other users must read what is staged for them, whatever the operator uses
    if uid != KEEP_USER:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    # After the change of user, which would clear it; then look whether the supervisor died just before.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(death_signal), 0, 0, 0)
    if os.getppid() != supervisor:
        sys.exit("the supervisor is gone")
    try:
        os.execv(program[0], program)
    except OSError as error:
        sys.exit(f"{program[0]} cannot be executed: {error.strerror}")


if __name__ == "__main__":
    main()
