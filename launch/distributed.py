"""Joins the processes of one training run, on one machine or many."""

import inspect
import os
import signal
import subprocess
import sys
import threading
from typing import Any, NoReturn, cast

import jax
from absl import flags

from dsf_jax.training import rendezvous
from dsf_jax.training.watchdog import Watchdog, exit_with
from launch import common

AUTO = "auto"
_WORKER = "DSF_JAX_SUPERVISOR_PIPE"  # set in the environment of the process that does the work

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of the first process, when several train together, each started with the same "
    f"flags; {AUTO} where JAX finds it and the two flags below by itself (TPU pods, Slurm, MPI).",
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many there are.", lower_bound=1)
_PROCESS = flags.DEFINE_integer("process", None, "Which one this is, from 0.", lower_bound=0)
_HEARTBEAT = flags.DEFINE_integer(
    "heartbeat", 60, "Seconds; a process silent for so long is taken for gone.", lower_bound=5
)
_JOIN_TIMEOUT = flags.DEFINE_integer(
    "join_timeout", 300, "Seconds that all processes have to come together.", lower_bound=1
)
_STEP_TIMEOUT = flags.DEFINE_integer(
    "step_timeout",
    60,
    "Seconds that a step may last, or three times the longest so far if that is more; a save, and the "
    "start with its compilation, ten times as long. Then a process is taken for stuck, and all end.",
    lower_bound=1,
)


def join() -> None:
    """Joins the run that the flags name; does nothing without --coordinator. Before any other use
    of JAX.

    When a process is gone, JAX's runtime aborts the others where they stand. The work is therefore
    done in a child process, and this one says what happened.

    Raises:
      ValueError: when the flags contradict one another.
      ConnectionError: when the others cannot be reached.
    """
    address, numbers = _COORDINATOR.value, (_PROCESSES.value, _PROCESS.value)
    _check(address, numbers)
    if address is None:
        return
    if _WORKER not in os.environ:
        _supervise()
    threading.Thread(target=_end_with, args=(int(os.environ[_WORKER]),), daemon=True).start()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    seconds = _JOIN_TIMEOUT.value
    if address != AUTO:
        rendezvous.meet(address, *cast(tuple[int, int], numbers), seconds)
    # JAX aborts when its time is over: ours is over before.
    late = threading.Timer(seconds, exit_with, [_not_there(address)])
    late.daemon = True
    late.start()
    # Before 0.8.2 jax lacks one or both, and takes times of its own.
    limits = {"heartbeat_timeout_seconds", "shutdown_timeout_seconds"}
    limits &= inspect.signature(jax.distributed.initialize).parameters.keys()
    try:
        jax.distributed.initialize(
            None if address == AUTO else address,
            *numbers,
            initialization_timeout=seconds + 60,
            **cast(Any, dict.fromkeys(limits, _HEARTBEAT.value)),
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"the processes of --coordinator={address} did not meet ({reason}); {_remedy(address)}"
        ) from error
    finally:
        late.cancel()


def _remedy(address: str) -> str:
    if address == AUTO:
        return (
            f"--coordinator={AUTO} is for TPU pods, Slurm and MPI: elsewhere give HOST:PORT, "
            "--processes and --process"
        )
    return "start all of them with the same address, and check that it can be reached"


def _not_there(address: str) -> str:
    return (
        f"the processes of --coordinator={address} have not all come within {_JOIN_TIMEOUT.value} s; see "
        "which were not started or have failed, or give them longer with --join_timeout"
    )


def watchdog() -> Watchdog | None:
    """Makes what ends this process when another one is stuck; None for a run of one process."""
    if jax.process_count() == 1:
        return None

    def end(what: str) -> None:
        exit_with(
            f"process {jax.process_index()} of {jax.process_count()}: {what} (--step_timeout="
            f"{_STEP_TIMEOUT.value}), so that one of the processes is stuck; end those that still run, and "
            "start all of them again: the run goes on from its last checkpoint"
        )

    return Watchdog(_STEP_TIMEOUT.value, end)


def _check(address: str | None, numbers: tuple[int | None, int | None]) -> None:
    processes, process = numbers
    if address in (None, AUTO):
        if numbers != (None, None):
            why = "found by it" if address == AUTO else "for --coordinator=HOST:PORT alone"
            raise ValueError(
                f"--processes and --process are {why}; leave them out or give an address"
            )
    elif processes is None or process is None:
        raise ValueError(f"--coordinator={address} needs --processes and --process; give both")
    elif process >= processes:
        raise ValueError(
            f"--process={process} must be less than --processes={processes}; count from 0"
        )


def _supervise() -> NoReturn:
    """Runs this command again as a child, passes SIGTERM on, and ends as the child ends."""
    reading, writing = os.pipe()  # never written to: its end tells the child that we are gone
    worker = subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        env=os.environ | {_WORKER: str(reading)},
        pass_fds=(reading,),
    )
    os.close(reading)
    sent: list[int] = []

    def pass_on(number: int, _: Any) -> None:
        sent.append(number)
        worker.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
    status = worker.wait()
    os.close(writing)
    if -status in sent:
        common.fail(
            f"ended by {signal.Signals(-status).name} before the first step; start all processes again",
            128 - status,
        )
    if status < 0:
        common.fail(
            f"this process of the run died of {signal.Signals(-status).name}, as it does when another "
            "is gone (see above, and what the others printed); start all of them again: the run goes "
            "on from its last checkpoint",
            1,
        )
    sys.exit(status)


def _end_with(pipe: int) -> Any:
    """Ends this process when the one that started it is gone."""
    os.read(pipe, 1)
    os._exit(1)
