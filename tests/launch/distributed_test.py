"""launch.distributed: which flags make a run of several processes, and which contradict one another."""

import subprocess
import sys
import types

import pytest
from absl import flags
from absl.testing import flagsaver

from launch import distributed
from tests.launch.scripts import ROOT, wait_for

pytestmark = pytest.mark.slow


class Supervised(Exception):
    """Stands for the process that only watches over the one that does the work."""


@pytest.fixture
def joined(monkeypatch):
    """A function that joins by flags, as the process that does the work; it returns what JAX was
    asked for, in order."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    asked, met = [], []
    fake = types.SimpleNamespace(
        config=types.SimpleNamespace(update=lambda *x: asked.append(x)),
        distributed=types.SimpleNamespace(initialize=lambda *x, **options: asked.append(x)),
    )

    def supervise():
        raise Supervised

    monkeypatch.setattr(distributed, "jax", fake)
    monkeypatch.setattr(distributed.rendezvous, "meet", lambda *given: met.append(given))
    monkeypatch.setattr(distributed, "_supervise", supervise)
    monkeypatch.setattr(distributed, "_end_with", lambda pipe: None)
    monkeypatch.setenv(distributed._WORKER, "0")

    def join(**values):
        with flagsaver.flagsaver(**values):
            distributed.join()
        return asked

    join.fake = fake  # type: ignore[attr-defined]
    join.met = met  # type: ignore[attr-defined]
    return join


def test_one_process_alone_joins_nothing_and_is_watched_by_none(joined, monkeypatch):
    monkeypatch.delenv(distributed._WORKER)
    assert joined() == []


def test_the_flags_name_the_address_the_number_and_the_place(joined):
    gloo = ("jax_cpu_collectives_implementation", "gloo")
    given = {"coordinator": "10.0.0.1:1234", "processes": 2, "process": 0}
    assert joined(**given) == [gloo, ("10.0.0.1:1234", 2, 0)]
    assert joined.met == [("10.0.0.1:1234", 2, 0, 300)]


def test_jax_may_find_them_itself(joined):
    assert joined(coordinator="auto")[1] == (None, None, None)


def test_the_flag_says_when_a_silent_process_is_gone(joined):
    options = {}

    def initialize(
        *address, initialization_timeout,
        heartbeat_timeout_seconds=100, shutdown_timeout_seconds=300,
    ):  # fmt: skip
        options.update(
            initialization_timeout=initialization_timeout,
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
            shutdown_timeout_seconds=shutdown_timeout_seconds,
        )

    joined.fake.distributed.initialize = initialize
    joined(coordinator="auto", heartbeat=7, join_timeout=50)
    assert options == {
        "initialization_timeout": 110,
        "heartbeat_timeout_seconds": 7,
        "shutdown_timeout_seconds": 7,
    }


def test_a_jax_that_has_no_such_limits_takes_its_own(joined):
    """As that of the lower bound."""
    asked = []
    joined.fake.distributed.initialize = lambda *address, initialization_timeout: asked.append(
        initialization_timeout
    )
    joined(coordinator="auto", heartbeat=7, join_timeout=50)
    assert asked == [110]


def test_the_first_process_watches_and_a_second_one_joins(joined, monkeypatch):
    monkeypatch.delenv(distributed._WORKER)
    joined.fake.distributed.initialize = lambda *_, **__: pytest.fail("it joined itself")
    with pytest.raises(Supervised):
        joined(coordinator="a:1", processes=2, process=0)


ALONE = "--processes and --process are for --coordinator=HOST:PORT alone; leave them out or give"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"processes": 2}, ALONE),
        ({"process": 0}, ALONE),
        ({"coordinator": "a:1"}, "--coordinator=a:1 needs --processes and --process; give both"),
        ({"coordinator": "a:1", "processes": 2}, "--coordinator=a:1 needs .*; give both"),
        ({"coordinator": "a:1", "process": 0}, "--coordinator=a:1 needs .*; give both"),
        (
            {"coordinator": "a:1", "processes": 2, "process": 2},
            "--process=2 must be less than --processes=2; count from 0",
        ),
        ({"coordinator": "auto", "process": 0}, "--processes and --process are found by it; leave"),
    ],
)
def test_flags_that_contradict_one_another(joined, monkeypatch, values, message):
    monkeypatch.delenv(distributed._WORKER)  # they are refused before anything is started
    with pytest.raises(ValueError, match=message) as caught:
        joined(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"coordinator": "a:1", "processes": 2, "process": 1}, "start all of them with the same"),
        ({"coordinator": "auto"}, "--coordinator=auto is for TPU pods, Slurm and MPI: elsewhere"),
    ],
)
def test_processes_that_do_not_meet(joined, kind, given, remedy):
    def fail(*_, **__):
        raise kind("DEADLINE_EXCEEDED: nobody came\nmore of it")

    joined.fake.distributed.initialize = fail
    with pytest.raises(ConnectionError, match=r" did not meet \(DEADLINE_EXC") as caught:
        joined(**given)
    assert f"; {remedy}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words", "status"),
    [
        ({"processes": 0}, ("--processes=0", "positive"), 2),
        ({"processes": 2}, ("are for --coordinator=HOST:PORT alone",), 1),
    ],
)
def test_from_the_command_line(launch, tmp_path, given, words, status):
    given = {"datasets": "none", "init": "random", "run_dir": tmp_path / "run"} | given
    launch("train", **given).failed(*words, status=status)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("end", "status", "told"),
    [
        ("sys.exit(3)", 3, ""),
        (
            "os.abort()",
            1,
            "error: this process of the run died of SIGABRT, as it does when another is gone (see "
            "above, and what the others printed); start all of them again",
        ),
    ],
)
def test_who_watches_ends_as_the_work_does_and_says_what_it_died_of(end, status, told):
    script = f"""if True:
        import os, sys
        if "{distributed._WORKER}" in os.environ:
            print("at work")
            sys.stdout.flush()
            {end}
        from launch import distributed
        distributed._supervise()"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == status and done.stdout == "at work\n"
    assert done.stderr.startswith(told) and done.stderr.count("\n") == (told != "")


def test_a_worker_that_a_signal_ends_early_is_told_from_one_that_died():
    script = f"""if True:
        import os, signal, time
        from launch import distributed
        if "{distributed._WORKER}" in os.environ:
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(60)
        distributed._supervise()"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 128 + 15
    assert done.stderr.startswith("error: ended by SIGTERM before the first step; start all")


def test_those_who_do_not_come_where_jax_counts(joined, monkeypatch):
    ended = []
    monkeypatch.setattr(distributed, "exit_with", ended.append)
    joined.fake.distributed.initialize = lambda *_, **__: wait_for(lambda: ended)
    joined(coordinator="auto", join_timeout=1)
    (line,) = ended
    assert "have not all come within 1 s; see" in line and "--join_timeout" in line
