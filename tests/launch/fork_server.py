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

import jax
import lancedb.background_loop
import numpy as np
import skimage.morphology  # noqa: F401

import tests.recipes.small  # noqa: F401  # registers it
from data_builders.openmoji import openmoji_dataset_builder  # noqa: F401
from dsf_jax.evaluation import evaluate  # noqa: F401
from dsf_jax.insight import plots  # noqa: F401
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.training import start  # noqa: F401
from tests.backbones import NARROW  # registers them all


def run(module, *arguments):
    """Does what `python -m module arguments` does."""
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def trace():
    """Traces what most scripts do, without a device, which would not survive a fork: functions of
    jax.numpy that JAX has traced once are there for all forks, a sixth or more of an evaluation of theirs.
    """
    config = ModelConfig(NARROW.name, ("one", "two"), NARROW.size, ())
    model = jax.eval_shape(lambda: init_model(config, seed=0))
    shown = {"points": (4096, 3), "photo": (256, 256, 3)}
    for (name, shape), dtype in zip(shown.items(), (np.uint16, np.uint8), strict=True):
        batch = {name: jax.ShapeDtypeStruct((3, *shape), dtype)}
        jax.eval_shape(lambda model, batch: model(model.plain_view(batch)), model, batch)


# Forks of it are experimental where it is at work, says a warning; here it is only imported.
lancedb.background_loop._FORK_WARNED = True

if __name__ == "__main__":
    trace()
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
