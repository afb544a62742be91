"""Prints what --help prints of every launch script, as JSON: {command: text}.

python -m docs.site_tools.helps

Scripts run in forks of one process that has the libraries imported: a start takes a tenth of a second.
"""

import gc
import importlib
import json
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence

from dsf_jax.__main__ import command_summaries


def help_of(command: str, arguments: Sequence[str] = ()) -> str:
    """Runs a script with --help in a fork and returns what it prints.

    Args:
      command: name of the script.
      arguments: further flags.

    Returns:
      Its standard output.

    Raises:
      RuntimeError: the script failed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            sys.argv[1:] = ["--help", *arguments]
            runpy.run_module(f"launch.{command}", run_name="__main__", alter_sys=True)
            os._exit(3)  # absl leaves by itself
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        text = out.read()
    if status:
        raise RuntimeError(f"launch.{command} --help ended with {status}: {text[-500:]}")
    return text


def main() -> None:
    """Collects the help of every command, and of every data set's builder."""
    from data_builders.registry import DATASETS, builder_class

    # What most scripts import: a fork has it already.
    for name in ("dsf_jax.training.start", "dsf_jax.evaluation.evaluate", "dsf_jax.insight.plots"):
        importlib.import_module(name)
    for name in DATASETS:
        builder_class(name)
    gc.freeze()

    told = {command: help_of(command) for command in command_summaries()}
    told |= {
        f"build_data {name}": help_of("build_data", [f"--dataset={name}"]) for name in DATASETS
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
