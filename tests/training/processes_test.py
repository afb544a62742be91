"""Two processes of four devices train as one of eight and one of one do; when one is gone, the other says so."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from dsf_jax.training import checkpoints, metrics_log
from dsf_jax.training.run_directory import read_config
from tests.launch.scripts import wait_for

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(run_dir, *, processes=1, devices=1, seconds=0.0, more=(), last=()):
    """Starts all processes of a run; `more` are further flags, `last` those of the last one."""
    together = []
    if processes > 1:
        address = f"127.0.0.1:{free_port()}"
        # The shorter, the less time a test of killed processes takes.
        together = [f"--coordinator={address}", f"--processes={processes}", "--heartbeat=10"]
    commands = [
        [
            *(sys.executable, "-W", "ignore", "-m", "tests.training.member"),
            *(f"--run_dir={run_dir}", f"--out={run_dir}.npz"),
            *(f"--devices={devices}", f"--seconds={seconds}"),
            *together,
            *([f"--process={i}"] if together else []),
            *more,
            *(last if i == processes - 1 else ()),
        ]
        for i in range(processes)
    ]
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    return [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]  # fmt: skip


def finish(run_dir, **options):
    for process in start(run_dir, **options):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    with np.load(f"{run_dir}.npz") as arrays:
        return dict(arrays)


def steps_there(run_dir):
    folder = run_dir / checkpoints.FOLDER
    return [int(p.name) for p in folder.glob("*") if p.name.isdigit()] if folder.exists() else []


def wait_for_checkpoint(run_dir, processes):
    end = time.monotonic() + 200
    while not steps_there(run_dir):
        for process in processes:
            assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, finish(folder, processes=2, devices=4)


def without_rate(run_dir):
    lines = metrics_log.read_metrics(run_dir)
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in lines]


@pytest.mark.parametrize("devices", [1, 8])
def test_two_processes_of_four_devices_equal_one_process(two, tmp_path, devices):
    folder, parameters = two
    alone = finish(tmp_path / "run", devices=devices)
    assert alone.keys() == parameters.keys()
    for name in alone:
        np.testing.assert_allclose(parameters[name], alone[name], rtol=2e-6, atol=2e-7)
    for a, b in zip(without_rate(folder), without_rate(tmp_path / "run"), strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=1e-5)


def test_only_the_primary_process_writes(two):
    folder, _ = two
    lines = metrics_log.read_metrics(folder)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 21))
    assert [line["step"] for line in lines if "held_out_loss" in line] == [5, 10, 15, 20]
    assert len(list((folder / "tensorboard").glob("events.*"))) == 1
    (session,) = read_config(folder)["sessions"]
    assert session["processes"] == 2 and session["devices"].startswith("8 ")


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_is_killed_the_other_stops_and_a_restart_resumes(two, tmp_path, victim):
    run_dir = tmp_path / "run"
    processes = start(run_dir, processes=2, devices=4, seconds=1)
    wait_for_checkpoint(run_dir, processes)
    processes[victim].kill()  # the process that was started; its worker must end with it
    _, errors = processes[1 - victim].communicate(timeout=120)
    processes[victim].communicate()
    assert processes[1 - victim].returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: ") and "start all of them again" in last
    reached = max(steps_there(run_dir))
    assert 5 <= reached < 20
    resumed = finish(run_dir, processes=2, devices=4)
    for name, value in two[1].items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_sigterm_to_one_process_saves_and_ends_all(two, tmp_path):
    run_dir = tmp_path / "run"
    processes = start(run_dir, processes=2, devices=4, seconds=1)
    wait_for_checkpoint(run_dir, processes)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    reached = max(steps_there(run_dir))
    assert 5 <= reached < 20 and not pathlib.Path(f"{run_dir}.npz").exists()
    assert without_rate(run_dir)[-1]["step"] == reached
    resumed = finish(run_dir, processes=2, devices=4)
    for name, value in two[1].items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_processes_that_were_started_differently_are_told_and_train_nothing(tmp_path):
    run_dir = tmp_path / "run"
    for process in start(run_dir, processes=2, last=["--rate=1"]):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        line = errors.strip().splitlines()[-1]
        assert "learning_rate is 0.001 in process 0 and 1.0 in process 1; start all" in line
    assert not (run_dir / "config.json").exists() and not steps_there(run_dir)


@pytest.mark.parametrize("signalled", [False, True])
def test_when_one_process_hangs_all_end_with_a_line(tmp_path, signalled):
    run_dir = tmp_path / "run"
    processes = start(run_dir, processes=2, more=["--step_timeout=10"], last=["--stuck_at=8"])
    wait_for_checkpoint(run_dir, processes)
    if signalled:
        wait_for(lambda: metrics_log.read_metrics(run_dir)[-1]["step"] >= 7)
        time.sleep(2)  # the one step that may be left takes milliseconds
        processes[0].send_signal(signal.SIGTERM)
    for number, process in enumerate(processes):
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        line = errors.strip().splitlines()[-1]
        assert line.startswith(f"error: process {number} of 2: ") or "another is gone" in line
    assert max(steps_there(run_dir)) == 5
