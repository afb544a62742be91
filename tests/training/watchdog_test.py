"""What lasts too long ends the process: a step, a save, a step after a signal."""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import time

import pytest

from dsf_jax.training import watchdog as watchdog_module
from dsf_jax.training.watchdog import SLOW, Watchdog

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]


class Computed:
    """Stands for an array on the device."""

    def __init__(self, ready=True):
        self.ready = ready

    def is_ready(self):
        return self.ready


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
        assert "the step after 1 has not ended after" in ended.get(timeout=10)


def test_steps_that_go_on_are_left_alone(made):
    watchdog, ended = made(1.0)
    with watchdog.watches():
        for number in range(1, 8):
            watchdog.step(number, Computed())
            time.sleep(0.3)
    assert ended.empty()


def test_preparing_the_start_and_a_save_have_longer(made):
    watchdog, ended = made(0.3)
    time.sleep(1)  # nothing is watched yet
    with watchdog.watches():
        time.sleep(1)
        watchdog.step(1, Computed())
        with watchdog.slow("the save of step 1"):
            time.sleep(1)
            assert ended.empty()
            said = ended.get(timeout=0.3 * SLOW + 5)
        assert said.startswith("the save of step 1 has not ended after")


def test_three_times_the_longest_step_is_allowed(made):
    watchdog, ended = made(1.5)
    with watchdog.watches():
        watchdog.step(1, Computed())
        time.sleep(0.4)
        for number in (2, 3):
            time.sleep(1.0)
            watchdog.step(number, Computed())
        time.sleep(2.0)
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
            assert "SIGTERM came, and the step after 1 has not ended" in ended.get(timeout=10)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("read", [True, False])
def test_a_last_line_that_nobody_reads_holds_no_process_up(read):
    """A peer's progress may have filled the pipe: the main thread hangs in a write, as this would."""
    code = """
import os, threading
from dsf_jax.training import watchdog
watchdog.PATIENCE = 0.5
threading.Timer(1.0, watchdog.exit_with, ["too slow"]).start()
while FILL: os.write(2, b"x" * 4096)
threading.Event().wait()
""".replace("FILL", str(not read))
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.wait(timeout=60) == 1
        assert process.stderr.read().endswith(b"\nerror: too slow\n") == read
