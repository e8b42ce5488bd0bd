"""Commands as forks of one process that has torch loaded already, since most of their time is this import.

    client: {"module", "arguments", "folder", "environment"}, standard streams  →  server  →  handler  →  command
    handler: the number of the command's process, then its exit code, a line each

The server forks a handler for each connection. The handler forks the command, waits for it, and reports. A command runs
its module as `python -m` does. Tests of signals, of start-up, and of what a command imports start processes of their own.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]

#: The longest request, in bytes: it contains the environment.
REQUEST_MAX_BYTES = 2**20

#: What the server imports before it forks.
PRELOADED = ("torch", "numba", "scipy.optimize", "scipy.linalg", "safetensors", "typer", "typer._adapters")


def run_forked(
    module: str, arguments: list[str], input: bytes, folder: Path | None, environment: dict[str, str]
) -> subprocess.CompletedProcess[bytes]:
    """Runs `python -m module arguments…` with these bytes as standard input, and collects its output."""
    request = {
        "module": module,
        "arguments": arguments,
        "folder": str(folder or Path.cwd()),
        "environment": environment,
    }
    (in_read, in_write), (out_read, out_write), (err_read, err_write) = (os.pipe() for _ in range(3))
    with socket.socket(socket.AF_UNIX) as connection, ThreadPoolExecutor(3) as pool:
        connection.connect(_address())
        socket.send_fds(connection, [json.dumps(request).encode()], [in_read, out_write, err_write])
        for end in (in_read, out_write, err_write):
            os.close(end)
        reply = connection.makefile("r")
        process = int(reply.readline())
        sent = pool.submit(_send, in_write, input)
        output = [pool.submit(_read, end) for end in (out_read, err_read)]
        try:
            code = int(reply.readline())
        except BaseException:  # a timeout of the test
            os.kill(process, signal.SIGKILL)
            raise
        sent.result()
        return subprocess.CompletedProcess([module, *arguments], code, *(part.result() for part in output))


def _send(end: int, data: bytes) -> None:
    """Writes all data, or what the reader takes before it ends."""
    with suppress(BrokenPipeError), open(end, "wb", buffering=0) as stream:
        while data:
            data = data[stream.write(data) :]


def _read(end: int) -> bytes:
    with open(end, "rb") as stream:
        return stream.read()


@cache
def _address() -> str:
    """The socket of the server, which this process starts once."""
    folder = tempfile.TemporaryDirectory(prefix="jam-tests-")
    address = f"{folder.name}/socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fork_server", address],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    atexit.register(_end, server, folder)
    return address


def _end(server: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    with server:
        server.kill()
    folder.cleanup()


# --- the server ---------------------------------------------------------------------------------------


def serve(address: str) -> NoReturn:
    """Answers requests until it is killed, or the process that started it has ended."""
    for name in PRELOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system removes handlers that have ended
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.flush()
    parent = os.getppid()
    listening.settimeout(1)
    while os.getppid() == parent:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listening.close()
            _handle(connection)
        connection.close()
    sys.exit()


def _handle(connection: socket.socket) -> NoReturn:
    """Forks the command of a request, and reports its process and its exit code."""
    connection.setblocking(True)
    message, streams, _, _ = socket.recv_fds(connection, REQUEST_MAX_BYTES, 3)
    while True:
        try:
            request = json.loads(message)
            break
        except json.JSONDecodeError:  # a part of it
            message += connection.recv(REQUEST_MAX_BYTES)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        connection.close()
        _become(request, streams)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Runs the module of a request in this process, and ends it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]
    code: Any = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        code = ending.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    serve(sys.argv[1])
