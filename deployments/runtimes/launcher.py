"""Starts one instance and stays beside it as its guardian: a standalone standard-library script.

The runtime starts it with the instance's mark in the environment and the order, as JSON, on standard input:

    starter ── launcher ── (fork) guardian ── (fork) instance
                  │            │                  └ own session, control groups, limits, user; then exec
                  │            └ own session: outlives the portal, reaps, rotates the console, notes the exit
                  └ ends as soon as the instance runs, with one line for the starter

The guardian holds `guardian.lock` for its whole life, so no second one can start the same instance, and is the
reaper of every descendant, so nothing the instance starts can get out of its sight.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import struct
import sys
import time
from typing import Any

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
CLONE_NEWNS, CLONE_NEWIPC = 0x00020000, 0x08000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 0x1000, 0x4000, 0x40000
FALLOC_FL_KEEP_SIZE = 1
FALLOC_FL_PUNCH_HOLE = 2

# Numbers of system calls, for each machine: clone and unshare; and those that no script needs, and through which
# kernels are attacked most: bpf, perf_event_open, userfaultfd, the key rings, setns, io_uring.
CALLS = {
    "x86_64": (0xC000003E, (56, 272), (321, 298, 323, 248, 249, 250, 308, 425, 426, 427)),
    "aarch64": (0xC00000B7, (220, 97), (280, 241, 282, 217, 218, 219, 268, 425, 426, 427)),
}
CLONE3, CLONE_NEWUSER = 435, 0x10000000
FIRST_OF_X32 = 0x40000000

CONSOLE_CHECK_SECONDS = 1
DISK_CHECK_SECONDS = 5
DISK_CHECK_SHARE = 0.02
"""Of the guardian's time: so much at most goes into looking what is on the disk."""
KILL_TREE_SECONDS = 5
COPY_BYTES = 1 << 20
LONGEST_BURST = 4
"""So many times the console's limit is kept of what was written between two looks at it."""

libc = ctypes.CDLL(None, use_errno=True)

Order = dict[str, Any]


def main() -> int:
    """Read the order, start guardian and instance; 0 once the instance's program runs."""
    order: Order = json.load(sys.stdin.buffer)
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        return _tell_starter(reading)
    os.close(reading)
    os.setsid()
    _silence_standard_streams()
    try:
        _guard(order, report=writing)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(writing, f"guardian: {error}".encode()[:4000])
        os._exit(1)
    os._exit(0)


def _tell_starter(reading: int) -> int:
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.readline().decode(errors="replace").strip()
    if answer == "running":
        return 0
    sys.stdout.write(answer or "the guardian ended before the instance ran")
    return 1


def _guard(order: Order, *, report: int) -> None:
    folder: str = order["folder"]
    lock = os.open(f"{folder}/guardian.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(report, b"running\n")
        return
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    _join(order["guardian_groups"])
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    waited_for = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)

    failed_exec, on_exec = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_instance(order, on_exec)
    os.close(on_exec)
    with os.fdopen(failed_exec, "rb") as pipe:
        failure = pipe.read().decode(errors="replace")
    os.write(report, failure.encode()[:4000] if failure else b"running\n")
    os.close(report)
    _write_json(f"{folder}/exit.json", _watch(pid, order, waited_for) | {"failure": failure})


def _watch(pid: int, order: Order, waited_for: set[signal.Signals]) -> dict[str, Any]:
    """Wait for the instance's end, keep its console bounded meanwhile, then end whatever it left behind."""
    look_again = time.monotonic() + CONSOLE_CHECK_SECONDS
    weigh_again, disk_bytes = time.monotonic() + DISK_CHECK_SECONDS, 0
    while True:
        patience = max(0.0, look_again - time.monotonic())
        received = signal.sigtimedwait(waited_for, patience)
        if received is not None and received.si_signo == signal.SIGTERM:
            os.kill(pid, signal.SIGTERM)
        if time.monotonic() >= look_again:
            look_again = time.monotonic() + CONSOLE_CHECK_SECONDS
            with contextlib.suppress(OSError):
                rotate_console(order["folder"], order["console_bytes"])
        if order["disk_bytes"] and not disk_bytes and time.monotonic() >= weigh_again:
            began = time.monotonic()
            used = sum(map(_disk_bytes, order["written"]))
            took = time.monotonic() - began
            weigh_again = began + max(DISK_CHECK_SECONDS, took / DISK_CHECK_SHARE)
            if used > order["disk_bytes"]:
                disk_bytes = used
                os.kill(pid, signal.SIGKILL)
        status = _reap(pid)
        if status is not None:
            break
    _kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return {
        "exit_code": code if code >= 0 else 128 - code,
        "signal": -code if code < 0 else None,
        "finished_at": time.time(),
        "disk_bytes": disk_bytes,
    }


def _disk_bytes(folder: str) -> int:
    """What all below takes on the disk; what goes while we look counts for nothing, and links are not followed."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                found += os.lstat(os.path.join(place, name)).st_blocks * 512
    return found


def _reap(pid: int) -> int | None:
    """Bury every dead child; the wait status of `pid` if it is among them."""
    found: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            dead, status = os.waitpid(-1, os.WNOHANG)
            if dead == 0:
                break
            if dead == pid:
                found = status
    return found


def _kill_descendants() -> None:
    """Kill until no descendant is left; all of them are ours, because orphans come to the guardian."""
    until = time.monotonic() + KILL_TREE_SECONDS
    while time.monotonic() < until:
        for pid in _descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with (
                contextlib.suppress(OSError),
                open(f"/proc/{entry}/stat", "rb") as stat,
            ):
                parent = int(stat.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _become_instance(order: Order, on_exec: int) -> None:
    """Turn this process into the instance; never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.setsid()
        console = _open_console(order["folder"])
        _write_own_identity(order["folder"], os.lseek(console, 0, os.SEEK_END))
        _join(order["groups"])
        _write(f"/proc/{os.getpid()}/oom_score_adj", str(order["oom_score_adj"]))
        if order["cpus"]:
            os.sched_setaffinity(0, order["cpus"])
        os.umask(0o027)
        os.dup2(console, 1)
        os.dup2(console, 2)
        _limit_resources(order["resource_limits"])
        if order["uid"] is not None:
            with contextlib.suppress(OSError):
                _withdraw(order)
            os.setgroups([])
            os.setresgid(order["gid"], order["gid"], order["gid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        _prctl(PR_SET_NO_NEW_PRIVS, 1)
        with contextlib.suppress(OSError):
            _refuse_calls()
        os.chdir(order["cwd"])
        os.execve(order["argv"][0], order["argv"], order["environment"])
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(on_exec, f"{type(error).__name__}: {error}".encode())
    os._exit(127)


def _withdraw(order: Order) -> None:
    """Give the instance shared memory and temporary folders of its own, which end with it; others' it does not see.

    Raises `OSError` where the kernel does not let us: in a container without the right to mount.
    """
    _checked("unshare", libc.unshare(CLONE_NEWNS | CLONE_NEWIPC))
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    size = f"mode=1777,size={order['shared_memory_bytes']}"
    _mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, size)
    for place in order["covered"]:
        _mount(order["temporary"], place, "", MS_BIND)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    words = [word.encode() for word in (source, target, kind, options)]
    _checked(f"mount {target}", libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]))


def _checked(what: str, result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _refuse_calls() -> None:
    """Let this process and all it starts make no user namespaces, and none of the calls named above.

    Raises `OSError` where the kernel has no such filters; does nothing on machines that are not listed.
    """
    known = CALLS.get(os.uname().machine)
    if known is None:
        return
    machine, starters, refused = known
    allow, refuse, absent = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
    load, equal, at_least, has_bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [
        (load, 0, 0, 4),  # what machine the call is of
        (equal, 1, 0, machine),
        (answer, 0, 0, refuse),
        (load, 0, 0, 0),  # its number
        (at_least, 0, 1, FIRST_OF_X32),
        (answer, 0, 0, refuse),
        # Its flags are in memory, which a filter does not see: the C library then takes clone.
        (equal, 0, 1, CLONE3),
        (answer, 0, 0, absent),
    ]
    for number in refused:
        steps += [(equal, 0, 1, number), (answer, 0, 0, refuse)]
    for number in starters:
        steps += [(equal, 0, 4, number), (load, 0, 0, 16), (has_bits, 0, 1, CLONE_NEWUSER)]
        steps += [(answer, 0, 0, refuse), (answer, 0, 0, allow)]
    steps.append((answer, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    place = ctypes.c_ulong(ctypes.addressof(program))
    _checked("seccomp", libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, place, 0, 0))


def _open_console(folder: str) -> int:
    return os.open(f"{folder}/console.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)


def _write_own_identity(folder: str, console_offset: int) -> None:
    """Written by the instance itself, before anything of the user's runs: what runs has always left its name."""
    with open("/proc/self/stat", "rb") as stat:
        start_ticks = int(stat.read().rpartition(b")")[2].split()[19])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = file.read().strip()
    identity = {
        "pid": os.getpid(),
        "start_ticks": start_ticks,
        "boot_id": boot_id,
        "started_at": time.time(),
        "console_offset": console_offset,
    }
    _write_json(f"{folder}/process.json", identity)


def _join(groups: list[str]) -> None:
    for group in groups:
        _write(f"{group}/cgroup.procs", str(os.getpid()))


def _limit_resources(limits: dict[str, int]) -> None:
    for name, wanted in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def rotate_console(folder: str, limit_bytes: int) -> bool:
    """Move whole lines from `console.log` to `console.log.1` once there are more than `limit_bytes` of them.

    The instance goes on writing to the same open file, so that can be neither renamed nor, without losing what is
    written meanwhile, emptied: the moved part becomes a hole instead, which takes no disk and loses no line.
    """
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(open(f"{folder}/rotation.lock", "ab"))
        log = stack.enter_context(open(f"{folder}/console.log", "r+b", buffering=0))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        end = os.fstat(log.fileno()).st_size
        begin = data_start(folder)
        if end - begin <= limit_bytes:
            return False
        cut = _after_last_newline(log.fileno(), begin, end)
        with open(f"{folder}/console.log.new", "wb") as moved:
            if cut - begin > LONGEST_BURST * limit_bytes:
                begin = _after_last_newline(log.fileno(), begin, cut - LONGEST_BURST * limit_bytes)
            _copy(log.fileno(), moved.fileno(), begin, cut)
        os.replace(f"{folder}/console.log.new", f"{folder}/console.log.1")
        _write(f"{folder}/console.start", str(cut))
        mode = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
        result = libc.fallocate(log.fileno(), mode, ctypes.c_int64(0), ctypes.c_int64(cut))
        if result != 0:
            # A file system without holes: bounded disk matters more than the lines of this very moment.
            log.truncate(0)
            _write(f"{folder}/console.start", "0")
    return True


def data_start(folder: str) -> int:
    """Where the lines begin in `console.log`; before that is the hole."""
    try:
        with open(f"{folder}/console.start", encoding="ascii") as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def _after_last_newline(log: int, begin: int, end: int) -> int:
    """Just behind the last newline; the end itself if one line fills it all."""
    position = end
    while position > begin:
        size = min(COPY_BYTES, position - begin)
        found = os.pread(log, size, position - size).rfind(b"\n")
        if found >= 0:
            return position - size + found + 1
        position -= size
    return end


def _copy(source: int, target: int, begin: int, end: int) -> None:
    while begin < end:
        chunk = os.pread(source, min(COPY_BYTES, end - begin), begin)
        if not chunk:
            return
        os.write(target, chunk)
        begin += len(chunk)


def _silence_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if null > 2:
        os.close(null)


def _prctl(option: int, value: int) -> None:
    _checked(f"prctl {option}", libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _write_json(path: str, value: dict[str, Any]) -> None:
    """Whole or not at all: a reader never sees half a file."""
    _write(f"{path}.new", json.dumps(value))
    os.replace(f"{path}.new", path)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
