"""Starts launch scripts as a user does, and reads what they leave on the screen."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parent.parent.parent
NAMES = (
    "build_data", "port_weights", "train", "evaluate", "extract", "search", "export", "figures",
    "benchmark", "quickstart", "ablations", "index", "serve", "reproduce", "make_model",
)  # fmt: skip
ALL = "openmoji/sketch,openmoji/photo,openmoji/edge"
PROGRESS = re.compile(r"\d+%\||\d+ examples \[|^(\x1b\[A|\s)*$")

NOTE = "note: "


def arguments_of(name, positional, values):
    """`launch("search", "word", top=3)` means `python -m launch.search --top=3 word`."""
    return [f"launch.{name}", *(f"--{k}={v}" for k, v in values.items()), *positional]


class Result(NamedTuple):
    """How a script ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self):
        """Standard error without progress bars and notes."""
        return [line for line in self._said if not line.startswith(NOTE)]

    @property
    def notes(self):
        """What a person should know although all went well."""
        return [line.removeprefix(NOTE) for line in self._said if line.startswith(NOTE)]

    @property
    def _said(self):
        return [line for line in re.split(r"[\r\n]+", self.err) if not PROGRESS.search(line)]

    def succeeded(self):
        """Checks that all went well, and says nothing but progress on standard error."""
        assert self.status == 0, self.err
        assert self.lines == [], self.err
        return self.out

    def failed(self, *words, status=1):
        """Checks that the script ended with one line, which holds the given words."""
        assert self.status == status, f"{self.status}: {self.out}\n{self.err}"
        assert len(self.lines) == 1, self.err
        (line,) = self.lines
        assert line.startswith("error: ")
        for word in words:
            assert str(word) in line, f"{word!r} is not in: {line}"
        # What is wrong, and, after a semicolon, what to do.
        assert re.search(r"; \S", line), f"no remedy in: {line}"
        return line


class Launcher:
    """Runs scripts one at a time, in forks of one process."""

    def __init__(self, folder):
        """Starts the process; `folder` gets what is printed, and compiled functions."""
        self.out, self.err = folder / "out", folder / "err"
        self._running = None
        self._server = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.launch.fork_server"], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(folder),
        )  # fmt: skip

    def start(self, name, *positional, folder=ROOT, **values):
        """Starts a script; returns its process id."""
        return self.start_module(*arguments_of(name, positional, values), folder=folder)

    def start_module(self, *arguments, folder=ROOT):
        """Starts what `python -m` with these arguments starts; returns its process id."""
        if self._running:  # a test failed before it waited
            os.kill(self._running, signal.SIGKILL)
            self.wait()
        for path in (self.out, self.err):
            path.write_text("")  # who waits for words does not find those of the script before
        job = {
            "arguments": list(map(str, arguments)),
            "folder": str(folder),
            "out": str(self.out),
            "err": str(self.err),
        }
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        self._running = int(self._server.stdout.readline())
        return self._running

    def wait(self):
        """Waits for the end of what was started."""
        status, self._running = int(self._server.stdout.readline()), None
        return Result(status, self.out.read_text(), self.err.read_text())

    def __call__(self, name, *positional, folder=ROOT, **values):
        """Runs a script to its end."""
        self.start(name, *positional, folder=folder, **values)
        return self.wait()

    def close(self):
        """Ends the process."""
        self._server.communicate()


def environment(folder):
    """A CPU, and a cache of compiled functions that is not the user's."""
    return dict(os.environ, JAX_PLATFORMS="cpu", XDG_CACHE_HOME=str(folder / "cache"))


def from_shell(folder, name, *positional, send=None, when=None, **values):
    """Runs `python -m launch.name`.

    Args:
      folder: for caches and what is printed.
      name: of the script.
      *positional: further arguments.
      send: a signal, which comes in the second second of work.
      when: the words on standard output that tell that work has begun.
      **values: flags.
    """
    out, err = folder / "shell_out", folder / "shell_err"
    env = environment(folder)
    env.pop("GLIBC_TUNABLES", None)  # it starts itself again with huge pages, as a user's does
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", *arguments_of(name, positional, values)], cwd=ROOT,
            env=env, stdout=stdout, stderr=stderr,
        )  # fmt: skip
        if send:
            wait_for(lambda: when in out.read_text() or process.poll() is not None)
            time.sleep(1.5)
            process.send_signal(send)
        try:
            status = process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"does not end: {out.read_text()}\n{err.read_text()}") from None
    return Result(status, out.read_text(), err.read_text())


def wait_for(condition, seconds=120):
    """Returns when the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
