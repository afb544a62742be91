"""Runs launch scripts in forks of a process that has the libraries imported already: a start takes
a tenth of a second, not four.

Reads one JSON object a line from standard input, {"arguments", "folder", "out", "err"}; answers
with the process id, and after its end with the exit status.
"""

import gc
import json
import os
import runpy
import sys

import lancedb.background_loop
import skimage.morphology  # noqa: F401

import tests.backbones  # registers them
import tests.recipes.small  # noqa: F401  # registers it
from data_builders.openmoji import openmoji_dataset_builder  # noqa: F401
from dsf_jax.evaluation import evaluate  # noqa: F401
from dsf_jax.insight import plots  # noqa: F401
from dsf_jax.training import start  # noqa: F401


def run(module, *arguments):
    """Does what `python -m module arguments` does."""
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


# Forks of it are experimental where it is at work, says a warning; here it is only imported.
lancedb.background_loop._FORK_WARNED = True

if __name__ == "__main__":
    gc.freeze()  # a fork that counts these references anew copies their pages
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, path in ((1, job["out"]), (2, job["err"])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.chdir(job["folder"])
            run(*job["arguments"])
            sys.exit()
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
