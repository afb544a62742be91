"""Where the processes of a run meet before JAX joins them: process 0 counts who came.

JAX's own service waits without a word, and aborts the process when its time is over. Each process
therefore first reports to process 0, at the address that JAX's service will have, with one line of
JSON, and gets one line back: GO, or what is wrong.
"""

import contextlib
import json
import socket
import sys
import time
from typing import Any

GO = "go"
_QUIET = 2.0  # seconds before a line says what is waited for
_REMINDER = 60.0  # between such lines
_GRACE = 10.0  # seconds more for the answer of a process 0 that is there, whose time may end later


class _Waiting:
    """Says what is waited for, now and then, until the time is over."""

    def __init__(self, seconds: float) -> None:
        """Starts the time."""
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self._next, self._said = self.started + _QUIET, ""

    def is_over(self) -> bool:
        """Returns whether the time is over."""
        return time.monotonic() > self.deadline

    def say(self, line: str) -> None:
        """Prints a line if it is new, or was printed long ago; nothing at first."""
        now = time.monotonic()
        if now > self._next or (self._said and line != self._said):
            print(line, file=sys.stderr, flush=True)
            self._next, self._said = now + _REMINDER, line


def meet(address: str, processes: int, process: int, seconds: int) -> None:
    """Returns when all processes of a run are there.

    Args:
      address: HOST:PORT of process 0.
      processes: number of processes.
      process: number of this one.
      seconds: time that they have.

    Raises:
      ValueError: for an address without a port.
      ConnectionError: when they are not there in time, or are not those of one run.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError(f"--coordinator={address} must be HOST:PORT; add the port")
    if process:
        try:
            _report((host.strip("[]"), int(port)), processes, process, seconds)
        except _Refused as error:
            raise ConnectionError(str(error)) from None
    else:
        _count(int(port), processes, seconds)


def _count(port: int, processes: int, seconds: int) -> None:
    """Waits, as process 0, for all others, and answers them together."""
    waiting, came = _Waiting(seconds), dict[int, socket.socket]()
    with contextlib.ExitStack() as opened:
        server = opened.enter_context(_listen(port))
        answer = GO
        while len(came) < processes - 1 and answer == GO:
            missing = sorted(set(range(1, processes)) - came.keys())
            there = f"{len(came) + 1} of {processes} processes {'is' if not came else 'are'} here"
            names = ", ".join(map(str, missing))
            waiting.say(f"waiting up to {seconds} s for the others: {there}, missing {names}")
            if waiting.is_over():
                answer = (
                    f"after {seconds} s {there}, missing {names}; start these with the same flags, or "
                    "give them longer with --join_timeout"
                )
            elif (caller := _accept(server)) is not None:
                opened.enter_context(caller)
                answer = _welcome(caller, came, processes)
            # One that has gone meanwhile may be started again.
            for number in [n for n, one in came.items() if _is_closed(one)]:
                del came[number]
        for caller in came.values():
            _answer(caller, answer)
    if answer != GO:
        raise ConnectionError(answer)


def _listen(port: int) -> socket.socket:
    try:
        if socket.has_dualstack_ipv6():
            address = ("", port)
            server = socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            server = socket.create_server(("", port))
    except OSError as error:
        raise ConnectionError(
            f"port {port} of --coordinator cannot be listened on ({error.strerror}); choose another"
        ) from error
    server.settimeout(0.5)
    return server


def _accept(server: socket.socket) -> socket.socket | None:
    try:
        return server.accept()[0]
    except TimeoutError:
        return None


def _welcome(caller: socket.socket, came: dict[int, socket.socket], processes: int) -> str:
    """Enters a caller among those who came; returns GO, or what is wrong with it."""
    caller.settimeout(5)
    said = _read(caller)
    if said is None:  # a stranger
        return GO
    number, theirs = said
    if number in came and _is_closed(came[number]):
        del came[number]
    wrong = GO
    if theirs != processes:
        wrong = (
            f"process {number} was started with --processes={theirs}, process 0 with "
            f"--processes={processes}; start all with the same"
        )
    elif number in came or not 0 < number < processes:
        wrong = f"two processes were started with --process={number}; number them from 0"
    if wrong != GO:
        _answer(caller, wrong)
    else:
        came[number] = caller
    return wrong


def _read(caller: socket.socket) -> tuple[int, int] | None:
    """Reads the number of a process and the number of processes that it knows of."""
    try:
        said: Any = json.loads(caller.makefile("r", encoding="utf-8").readline(200))
        return int(said["process"]), int(said["processes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_closed(caller: socket.socket) -> bool:
    """Returns whether the other side has gone."""
    caller.setblocking(False)
    try:
        return caller.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _answer(caller: socket.socket, line: str) -> None:
    """Answers, and lets the other side close first: the port is free at once then."""
    with contextlib.suppress(OSError):
        caller.settimeout(5)
        caller.sendall(f"{line}\n".encode())
        caller.recv(1)


def _report(address: tuple[str, int], processes: int, process: int, seconds: int) -> None:
    """Reports to process 0, again and again until it answers."""
    waiting, (host, port) = _Waiting(seconds), address
    while not waiting.is_over():
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as caller:
            said = json.dumps({"process": process, "processes": processes})
            caller.sendall(f"{said}\n".encode())
            answer = _wait_for_answer(caller, waiting)
            if answer == GO:
                return
            if answer:
                raise _Refused(answer)
        waiting.say(f"waiting up to {seconds} s for process 0 at {host}:{port}")
        time.sleep(0.3)
    raise ConnectionError(
        f"after {seconds} s process 0 has not answered at {host}:{port}; start it, check that the "
        "address can be reached, or give it longer with --join_timeout"
    )


class _Refused(Exception):
    """Carries what process 0 says is wrong past what is suppressed of the network."""


def _wait_for_answer(caller: socket.socket, waiting: _Waiting) -> str:
    """Returns the answer of process 0; empty when it has gone, or the time is over."""
    caller.settimeout(0.5)
    received = b""
    while time.monotonic() < waiting.deadline + _GRACE and not received.endswith(b"\n"):
        try:
            part = caller.recv(4096)
        except TimeoutError:
            waiting.say("waiting for the other processes: process 0 is here, and counts who comes")
            continue
        if not part:
            return ""
        received += part
    return received.decode().strip()
