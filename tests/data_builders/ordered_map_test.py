"""Work on all cores keeps the order, passes errors on, and does not run away from its reader."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnProcess
from typing import Any

import pytest

from data_builders.ordered_map import ordered_map
from tests.launch.scripts import ROOT


class Counted(list):
    """Notes how far its items were taken."""

    taken = 0

    def __getitem__(self, index):
        self.taken = max(self.taken, index.stop)
        return super().__getitem__(index)


def test_results_are_in_order_and_made_little_ahead_of_the_reader():
    items = Counted(range(2000))
    results = ordered_map(str, items, processes=2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert items.taken <= 200
    assert list(results) == [str(i) for i in range(3, 2000)]


def test_few_items_start_no_processes():
    seen = []
    assert list(ordered_map(seen.append, range(5))) == [None] * 5 and seen == list(range(5))


def test_the_first_error_is_raised_as_it_is_in_its_place():
    results = ordered_map(int, ["1"] * 40 + ["x"] + ["1"] * 400, processes=2)
    assert [next(results) for _ in range(32)] == [1] * 32
    with pytest.raises(ValueError, match="invalid literal"):
        list(results)
    assert list(ordered_map(int, [], processes=2)) == []


@pytest.mark.slow
@pytest.mark.parametrize(("started", "late"), [(1, False), (2, False), (2, True)])
def test_an_interrupt_while_workers_start_ends_all(started, late, monkeypatch, capfd):
    """A worker that started, but was unknown to the pool, once kept it from ending for ever; so did one
    that started late, as the first had been done with all that was there at the start.
    """
    begun, start, submitted, submit = [], SpawnProcess.start, [], ProcessPoolExecutor.submit

    def submit_then_wait(*given):
        submitted.append(submit(*given))
        if len(submitted) <= 8:
            submitted[-1].result()
            time.sleep(0.1)  # the pool notes that its worker is idle
        return submitted[-1]

    if late:
        monkeypatch.setattr(ProcessPoolExecutor, "submit", submit_then_wait)

    def start_then_interrupt(process):
        start(process)
        begun.append(process)
        if len(begun) == started:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # Python sees it here

    monkeypatch.setattr(SpawnProcess, "start", start_then_interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(ordered_map(str, range(2000), processes=2))
    assert len(begun) == 2 and not any(process.is_alive() for process in begun)
    assert capfd.readouterr().err == ""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_what_is_left_unread_may_be_collected_by_the_pools_own_thread():
    """It cannot wait for itself: a traceback was printed."""
    earlier = threading.enumerate()
    results: Any = ordered_map(str, range(2000), processes=2)
    next(results)
    threads = {type(x).__name__: x for x in threading.enumerate() if x not in earlier}
    thread: Any = threads["_ExecutorManagerThread"]
    closed, raised = threading.Event(), []
    work = thread.wait_result_broken_or_wakeup

    def close_then_work():
        if not closed.is_set():
            try:
                results.close()
            except RuntimeError as error:
                raised.append(error)
            closed.set()
        return work()

    thread.wait_result_broken_or_wakeup = close_then_work
    with thread.shutdown_lock:
        thread.thread_wakeup.wakeup()  # all that is under way may be done already: it would wait for ever
    assert closed.wait(60) and not raised
    thread.join(60)
    assert not thread.is_alive()


TERMINAL = """
import sys, time
import launch
from data_builders.ordered_map import ordered_map

if __name__ == "__main__":
    results = ordered_map(time.sleep, [0.01] * 16 + [1.0] * 320, processes=2)
    try:
        if sys.argv[1] == "working":
            next(results)
        print("begun", flush=True)
        list(results)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["starting", "working"])
def test_ctrl_c_of_a_terminal_reaches_the_parent_alone_and_does_not_wait_for_chunks(when, tmp_path):
    """A terminal sends it to all processes; 16 items of a chunk take 16 s here."""
    (tmp_path / "script.py").write_text(TERMINAL)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", when], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    begun = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
    assert when == "starting" or time.monotonic() - begun < 10
