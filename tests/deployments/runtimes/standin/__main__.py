"""A stand-in for the inference server: the same flags, status file, exit code and processes, and little HTTP."""

import argparse
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any, cast

WORKER = "--stand-in-worker"


def main() -> None:
    parser = argparse.ArgumentParser()
    for text in ("entry_script", "model_dir", "python", "socket", "status_file"):
        parser.add_argument(f"--{text}", default="")
    for number in ("max_concurrent_requests", "max_queue_wait_ms", "request_timeout_ms"):
        parser.add_argument(f"--{number}", type=int)
    parser.add_argument("--worker_count", type=int, default=1)
    options = parser.parse_args()
    Server(options).serve()


class Server:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.selector = selectors.DefaultSelector()
        self.ready: dict[socket.socket, subprocess.Popen[bytes]] = {}
        self.write_status("starting")
        signal.signal(signal.SIGTERM, self.stop)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(options.socket)
        os.chmod(options.socket, 0o660)
        self.listener.listen(64)
        self.selector.register(self.listener, selectors.EVENT_READ)
        for _ in range(options.worker_count):
            self.start_worker()

    def start_worker(self) -> None:
        ours, theirs = socket.socketpair()
        command = [
            self.options.python,
            __file__,
            WORKER,
            self.options.entry_script,
            str(theirs.fileno()),
        ]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.selector.register(ours, selectors.EVENT_READ, process)

    def serve(self) -> None:
        while True:
            for key, _ in self.selector.select():
                if key.data is None:
                    self.answer(self.listener.accept()[0])
                else:
                    self.hear(cast(socket.socket, key.fileobj), key.data)

    def hear(self, worker: socket.socket, process: subprocess.Popen[bytes]) -> None:
        try:
            told = worker.recv(65536)
        except ConnectionError:
            told = b""
        if told == b"ready\n":
            self.ready[worker] = process
            self.write_status("ready")
            return
        self.selector.unregister(worker)
        if told:
            trace = told.decode().splitlines()
            self.write_status(
                "failed", "UserScriptInitFailed", "init() of the script failed.", trace[-12:]
            )
        elif worker in self.ready:
            del self.ready[worker]
            self.start_worker()
            return
        else:
            self.write_status("failed", "UserScriptInitFailed", "A worker ended while it started.")
        sys.exit(3)

    def answer(self, connection: socket.socket) -> None:
        with connection:
            method, path = connection.recv(65536).split(b" ")[:2]
            if (method, path) == (b"GET", b"/"):
                status, body = (200, b"Healthy") if self.ready else (503, b"")
            elif path == b"/pid":
                status, body = 200, str(os.getpid()).encode()
            else:
                worker = next(iter(self.ready))
                worker.sendall(b"run\n")
                status, body = 200, worker.recv(65536)
            head = (
                f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            )
            connection.sendall(head.encode() + body)

    def write_status(
        self, state: str, code: str = "", message: str = "", evidence: Sequence[str] = ()
    ) -> None:
        status = {
            "state": state,
            "code": code,
            "message": message,
            "evidence": list(evidence),
            "ready_workers": len(self.ready),
            "restarts": 0,
            "pid": os.getpid(),
        }
        with open(self.options.status_file + ".new", "w") as file:
            json.dump(status, file)
        os.replace(self.options.status_file + ".new", self.options.status_file)

    def stop(self, *_: object) -> None:
        print("stand-in: stopping", flush=True)
        self.write_status("stopping")
        sys.exit(0)


def work(script: str, descriptor: int) -> None:
    connection = socket.socket(fileno=descriptor)
    names: dict[str, Any] = {"__name__": "script"}
    try:
        with open(script) as file:
            exec(compile(file.read(), script, "exec"), names)
        names["init"]()
    except BaseException:
        traceback.print_exc()
        connection.sendall(traceback.format_exc().encode()[-60000:])
        return
    connection.sendall(b"ready\n")
    while connection.recv(65536):
        connection.sendall(json.dumps(names["run"]("")).encode())


if __name__ == "__main__":
    if WORKER in sys.argv:
        work(sys.argv[2], int(sys.argv[3]))
    else:
        main()
