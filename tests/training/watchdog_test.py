"""What lasts too long ends the process: a step, a save, a step after a signal."""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest

from dsf_jax.training import watchdog as watchdog_module
from dsf_jax.training.watchdog import SLOW, Watchdog
from tests.launch.scripts import wait_for

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


class Computed:
    """Stands for an array on the device."""

    def __init__(self, ready=True):
        self.ready = ready

    def is_ready(self):
        return self.ready


class Clock:
    """Stands for the module `time`: as much passes as a test says, however slow the machine is."""

    def __init__(self):
        self.now, self.looks, self.meanwhile = 0.0, 0, iter(())

    def monotonic(self):
        if threading.current_thread() is not threading.main_thread():
            self.looks += 1
            next(self.meanwhile, lambda: None)()
        return self.now

    def passes(self, seconds):
        """Lets time pass after the watchdog has seen what was before; returns when it has seen that too."""
        for some in (0, seconds):
            self.now += some
            seen = self.looks
            wait_for(lambda: self.looks > seen + 5)  # noqa: B023  # at most three times a round


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(watchdog_module, "_POLL", 0.01)
    monkeypatch.setattr(watchdog_module, "time", clock := Clock())
    return clock


@pytest.fixture
def made():
    """A function that makes a watchdog with a queue of what it ends with."""
    opened = []

    def make(seconds):
        ended = queue.Queue()
        opened.append(Watchdog(seconds, ended.put))
        return opened[-1], ended

    yield make
    for one in opened:
        one.close()


def test_a_step_that_never_ends(made):
    watchdog, ended = made(0.6)
    with watchdog.watches():
        watchdog.step(1, Computed())
        watchdog.step(2, Computed(ready=False))
        assert "the step after 1 has not ended after" in ended.get(timeout=60)


def test_steps_that_go_on_are_left_alone(clock, made):
    watchdog, ended = made(1.0)
    with watchdog.watches():
        for number in range(1, 8):
            watchdog.step(number, Computed())
            clock.passes(0.9)
    assert ended.empty()


def test_preparing_the_start_and_a_save_have_longer(clock, made):
    watchdog, ended = made(1.0)
    clock.passes(1000)  # nothing is watched yet
    with watchdog.watches():
        clock.passes(SLOW - 0.1)
        watchdog.step(1, Computed())
        clock.passes(0.9)
        with watchdog.slow("the save of step 1"):
            clock.passes(SLOW - 0.1)
            assert ended.empty()
            clock.now += 0.2
            assert ended.get(timeout=60).startswith("the save of step 1 has not ended after")


def test_three_times_the_longest_step_is_allowed(clock, made):
    watchdog, ended = made(1.5)
    with watchdog.watches():
        watchdog.step(1, Computed())
        clock.passes(1.4)
        watchdog.step(2, Computed())
        clock.passes(4.1)
        assert ended.empty()
        clock.now += 0.2
        assert ended.get(timeout=60).startswith("the step after 2 has not ended after")


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_save_that_begins_while_a_step_is_noted_has_longer(clock, made, look):
    """It was taken for a step, and a run ended that was well, where it began between two looks at the clock."""
    begun, entered = threading.Event(), threading.Event()

    def begin():
        begun.set()
        entered.wait(0.2)

    class Noted(Computed):
        def is_ready(self):
            clock.meanwhile = iter([*[lambda: None] * (look - 1), begin])
            return True

    watchdog, ended = made(1.0)
    with watchdog.watches():
        watchdog.step(1, Noted())
        assert begun.wait(60)
        with watchdog.slow("the save of step 1"):
            entered.set()
            clock.passes(SLOW - 0.1)
            assert ended.empty()


def test_a_signal_is_heard_while_waiting(made, monkeypatch):
    monkeypatch.setattr(watchdog_module, "GRACE", 0.5)
    watchdog, ended = made(60)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with watchdog.watches():
            watchdog.step(1, Computed())
            time.sleep(0.6)
            os.kill(os.getpid(), signal.SIGTERM)
            assert "SIGTERM came, and the step after 1 has not ended" in ended.get(timeout=60)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("read", [True, False])
def test_a_last_line_that_nobody_reads_holds_no_process_up(read):
    """A peer's progress may have filled the pipe: the main thread hangs in a write, as this would."""
    code = """
import os, select, threading
from dsf_jax.training import watchdog
watchdog.PATIENCE = 0.5
while FILL and select.select([], [2], [], 0)[1]: os.write(2, b"x" * 4096)
threading.Timer(0.1, watchdog.exit_with, ["too slow"]).start()
while FILL: os.write(2, b"x" * 4096)
threading.Event().wait()
""".replace("FILL", str(not read))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 1
        assert process.stderr.read().endswith(b"\nerror: too slow\n") == read
