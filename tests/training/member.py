"""One process of a run of several: trains the tiny network, and writes the final parameters.

python -m tests.training.member --run_dir=RUN --out=OUT.npz --devices=4 --coordinator=127.0.0.1:PORT \\
    --processes=2 --process=0
"""

import dataclasses

import jax
import numpy as np
from absl import flags

from dsf_jax.training.loop import train
from dsf_jax.training.parallel import is_primary
from launch import common, distributed
from tests.training import tiny

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of the run.", required=True)
_OUT = flags.DEFINE_string("out", None, "File of the parameters.", required=True)
_DEVICES = flags.DEFINE_integer("devices", 1, "Virtual devices of this process.")
_SECONDS = flags.DEFINE_float("seconds", 0.0, "That each batch takes.")


def part(batch):
    """This process's examples of each kind."""
    here, all_of_them = jax.process_index(), jax.process_count()
    return {
        kind: {
            name: x[len(x) * here // all_of_them : len(x) * (here + 1) // all_of_them]
            for name, x in group.items()
        }
        for kind, group in batch.items()
    }


def main():
    jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    distributed.join()
    result = train(
        dataclasses.replace(tiny.TRAINING, log_every=1),
        lambda model: tiny.batches(_SECONDS.value).map(part),
        tiny.start_model(),
        _RUN_DIR.value,
        total_examples=tiny.EXAMPLES,
        data=tiny.DATA,
        held_out=tiny.held_out().map(part),
    )
    if is_primary() and result.finished:
        np.savez(_OUT.value, **tiny.flat(jax.device_get(result.state.model.params)))


if __name__ == "__main__":
    common.run(main)
