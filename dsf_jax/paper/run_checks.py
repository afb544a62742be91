"""Which runs and data sets of the paper there are, what is missing and how to get it, and whether a run
may be tested.

Runs lie as `launch.train --fold=all --run_dir=RUNS/MIXTURE` leaves them: RUNS/S/fold0, ...
"""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence

from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.data.mixtures import EDGE_PRESERVING
from dsf_jax.data.records import Records, list_datasets
from dsf_jax.evaluation.extractors import NamedModel
from dsf_jax.paper.numbers import EDGES, PHOTOS, RESIZED, SKETCH_A_NET, SKETCHES
from dsf_jax.training.checkpoints import FOLDER, last_step
from dsf_jax.training.run_directory import read_config

RESULTS = "results"  # within the folder of runs


@dataclasses.dataclass(frozen=True)
class ReproductionConfig:
    """Where runs and data lie, and which folds are evaluated.

    Attributes:
      runs: folder of the mixtures' runs.
      data_dir: folder of prepared records.
      folds: numbers of the folds; a table's numbers are means over them.
      pretrained: a ported checkpoint, whose pool5 is a baseline, or None.
    """

    runs: pathlib.Path
    data_dir: str
    folds: tuple[int, ...]
    pretrained: str | None = None

    @property
    def results(self) -> pathlib.Path:
        """Returns the folder that each result is kept in once it is made."""
        return self.runs / RESULTS


def missing_data(config: ReproductionConfig, datasets: Sequence[str]) -> list[str]:
    """Returns one sentence per data set, NAME or NAME:SPLIT, that is not prepared."""
    there = list_datasets(config.data_dir)
    names = [DataSetSpec.parse(dataset).name for dataset in datasets]
    return [f"needs {name}, {_where(name)}" for name in names if name not in there]


def _where(name: str) -> str:
    """Returns where a data set comes from."""
    return f"get it as data_builders/{name.partition('/')[0]}/README.md says"


def missing_runs(config: ReproductionConfig, run: str) -> list[str]:
    """Names the folds of a run whose model is not finished, and the command that trains them."""
    folders = [config.runs / run / f"fold{fold}" for fold in config.folds]
    if not (states := [f"{name} ({s})" if s else name for name, s in _unfinished(config, folders)]):
        return []
    needed = f"needs the model {', '.join(states)}, train it with: `{train_command(config, run)}`"
    return [needed, *missing_data(config, _training_sets(run))]


def _unfinished(
    config: ReproductionConfig, folders: Sequence[pathlib.Path]
) -> Iterator[tuple[str, str]]:
    """Yields the name of each run that has no checkpoint, or not its last, and how far it is."""
    for folder in folders:
        name = folder.relative_to(config.runs).as_posix()
        step = last_step(folder / FOLDER)
        if step is None:
            yield name, ""
        elif step < (steps := read_config(folder).get("steps", step)):
            yield name, f"at step {step} of {steps}"


def train_command(config: ReproductionConfig, run: str) -> str:
    """Formats the command that trains a run of the paper, or its rival, all folds."""
    init = "random --backbone=sketch_a_net" if run == SKETCH_A_NET else "runs/ported"
    return (
        f"python -m launch.train --data_dir={config.data_dir} --init={init} --run_dir={config.runs / run} "
        f"--fold=all --datasets={','.join(_training_sets(run))} --mixture={_mixture(run)}"
        + (f" --resizing={RESIZED[run]}" if run in RESIZED else "")
    )


def _mixture(run: str) -> str:
    """Returns the mixture that a run is trained on."""
    return "S" if run in RESIZED or run == SKETCH_A_NET else run


def _training_sets(run: str) -> list[str]:
    """Names the data sets that a run is trained on."""
    by_letter = {"S": SKETCHES, "I": PHOTOS, "E": EDGES}
    return [by_letter[letter] for letter in _mixture(run).split("+")]


def check_classes(named: NamedModel, test: Records) -> None:
    """Refuses a model that does not know all classes: it would be scored on an easier task."""
    if unknown := sorted({*test.class_names} - {*named.model.class_names}):
        raise ValueError(
            f"{named.name} does not know {len(unknown)} of the {len(test.class_names)} classes of "
            f"{test.name}, {unknown[0]} for one; train it with all of them, or score it by itself with "
            "--checkpoint"
        )


def check_unseen(run_dir: pathlib.Path, test: Records) -> None:
    """Refuses a model that was trained on what it is to be tested on."""
    for name, split, digest in _trained_on(run_dir):
        if name != test.name:
            continue
        if test.split in split or "fold" not in split:
            raise ValueError(
                f"{run_dir} was trained on {name} [{split}], which holds {test.split}, and would "
                f"be tested on it; train it with --fold={test.split.removeprefix('fold')}"
            )
        if digest and digest != test.digest:
            raise ValueError(
                f"{run_dir} was trained on files of {name} with the digest {digest}, those in "
                f"{test.folder} have {test.digest}: their folds may be cut otherwise; train it again, "
                "or bring the old files back"
            )


def _trained_on(run_dir: pathlib.Path) -> list[tuple[str, str, str]]:
    """Reads what a run was trained on: data set, split, and digest or nothing."""
    try:
        lines = read_config(run_dir)["start"]["data"]
        # A split may have brackets of its own: fold0[:50%].
        return re.findall(
            r"from (\S+) \[(.*?)\](?=, |; |$)(?:.*; digest (\w+)$)?", "\n".join(lines), re.M
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{run_dir}/config.json does not say what the run was trained on; train it again"
        ) from error


def check_resizing(named: NamedModel, run: str) -> None:
    """Refuses a model whose sketches were resized otherwise than its run's name says."""
    expected = RESIZED.get(run, EDGE_PRESERVING)
    if named.model.config.resizing != expected:
        raise ValueError(
            f"{named.name} was trained with resizing={named.model.config.resizing}, expected {expected}; "
            "move the run into a folder of another name"
        )
