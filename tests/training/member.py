"""One process of a run of several: trains the tiny network, and writes the final parameters.

python -m tests.training.member --run_dir=RUN --out=OUT.npz --devices=4 --coordinator=127.0.0.1:PORT \\
    --processes=2 --process=0
"""

import dataclasses
import time

import jax
import numpy as np
from absl import flags

from launch import common, distributed

_RUN_DIR = flags.DEFINE_string("run_dir", None, "Of the run.", required=True)
_OUT = flags.DEFINE_string("out", None, "File of the parameters.", required=True)
_DEVICES = flags.DEFINE_integer("devices", 1, "Virtual devices of this process.")
_SECONDS = flags.DEFINE_float("seconds", 0.0, "That each batch takes.")
_STUCK_AT = flags.DEFINE_integer("stuck_at", None, "Number of the batch that never comes.")
_RATE = flags.DEFINE_float("rate", None, "The learning rate, where it is another.")


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


def batches():
    """This process's batches."""
    import grain

    from tests.training import tiny

    def read(number):
        if number == _STUCK_AT.value:
            time.sleep(1000)
        return part(tiny.batches(_SECONDS.value)[number])

    return grain.MapDataset.range(1000).map(read)


def main():
    jax.config.update("jax_num_cpu_devices", _DEVICES.value)
    distributed.join()
    # Not before: the process that only watches over this one needs none of it.
    from dsf_jax.training.loop import train
    from dsf_jax.training.parallel import is_primary
    from tests.training import tiny

    config = dataclasses.replace(tiny.TRAINING, log_every=1)
    if _RATE.value is not None:
        config = dataclasses.replace(config, learning_rate=_RATE.value)
    result = train(
        config,
        lambda model: batches(),
        tiny.start_model(),
        _RUN_DIR.value,
        total_examples=tiny.EXAMPLES,
        data=tiny.DATA,
        held_out=tiny.held_out().map(part),
        watchdog=distributed.watchdog(),
    )
    if is_primary() and result.finished:
        np.savez(_OUT.value, **tiny.flat(jax.device_get(result.state.model.params)))


if __name__ == "__main__":
    common.run(main)
