"""The paper's tables and Fig. 4, cell by cell: what can be run is run, once; for the rest it says
what is missing and how to get it.

Runs lie as `launch.train --fold=all --run_dir=RUNS/MIXTURE` leaves them: RUNS/S/fold0, ...
"""

import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dsf_jax.data.datasets import DataSetSpec
from dsf_jax.data.mixtures import EDGE_PRESERVING, ClassMap
from dsf_jax.data.records import Records, list_datasets, open_records
from dsf_jax.evaluation import evaluate
from dsf_jax.evaluation.extractors import NO_LAYER, FeatureExtractor, HandCrafted, NamedModel
from dsf_jax.evaluation.protocols.tu_berlin import join_folds
from dsf_jax.evaluation.results import ResultRecord, over_folds
from dsf_jax.images.descriptors import Descriptor
from dsf_jax.paper import tables
from dsf_jax.paper.tables import RESIZED, Found, NotRun, Table
from dsf_jax.training.checkpoints import FOLDER, last_step, load_model
from dsf_jax.training.run_directory import read_config

SKETCHES, PHOTOS, EDGES = "tu_berlin/sketch", "hust_si/photo", "edge_maps/hust_si-hed"
EITZ = ("eitz_sbir/sketch", "eitz_sbir/photo")
VOC = ("pascal_voc_sbir/sketch", "pascal_voc_sbir/photo")
BASELINES: tuple[Descriptor, ...] = ("HOG", "raw pixels")
POOL5 = "pool5, not fine-tuned"
NOT_PRETRAINED = NotRun(
    "needs the pretrained network: name what launch.port_weights wrote with --pretrained"
)
RESULTS = "results"  # within the folder of runs


class Setup(NamedTuple):
    """Where things lie, and which folds are evaluated.

    Attributes:
      runs: folder of the mixtures' runs.
      data_dir: of prepared records.
      folds: numbers; a table's numbers are means over them.
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


def table_1(setup: Setup, sketches: str = SKETCHES) -> Table:
    """Recognises the sketches of each fold with the run that did not see them."""
    return tables.table_1({run: _recognition(setup, run, sketches) for run in tables.RUNS})


def table_2(setup: Setup, sketches: str = SKETCHES) -> Table:
    """Recognises sketches with the run S and with linear classifiers of features that were not learned
    from sketches.
    """
    baselines = _over_baselines(
        setup, [sketches], lambda who, layer: _linear(setup, who, layer, sketches)
    )
    return tables.table_2(_recognition(setup, "S", sketches), baselines)


def table_3(setup: Setup, sketches: str = EITZ[0], photos: str = EITZ[1]) -> Table:
    """Correlates distances with people's ratings."""

    def make(who: FeatureExtractor, *layers: str) -> dict[str, ResultRecord]:
        pair = [open_records(setup.data_dir, *_named(name, "test")) for name in (sketches, photos)]
        return evaluate.retrieval(
            who,
            pair[:1],
            pair[1:],
            protocol="eitz_sbir",
            layers=layers or None,
            results=setup.results,
        )

    found: dict[tuple[str, str], Found] = {}
    for run in tables.TABLE_3:
        joined = _over_runs(setup, run, (sketches, photos), make)
        for layer in tables.LAYERS:
            found[run, layer] = joined if isinstance(joined, NotRun) else joined[layer]
    baselines = _over_baselines(
        setup, (sketches, photos), lambda who, layer: make(who, layer)[layer]
    )
    return tables.table_3(found, baselines)


def figure_4(
    setup: Setup, sketches: str = VOC[0], photos: str = VOC[1]
) -> tuple[Table, dict[str, dict[str, list[tuple[int, float, float, float]]]]]:
    """Retrieves VOC's photos among more and more negatives.

    Returns:
      The table, and the curves of the runs and baselines that there are: {run: {class: [(negatives,
      value, low, high)]}}.
    """

    def make(who: FeatureExtractor, layer: str = tables.LAYERS[-1]) -> ResultRecord:
        queries = open_records(setup.data_dir, *_named(sketches, "test"))
        every = "+".join(list_datasets(setup.data_dir)[DataSetSpec.parse(photos).name])
        gallery = open_records(setup.data_dir, *_named(photos, every))
        made = evaluate.retrieval(
            who,
            [queries],
            [gallery],
            protocol="voc_retrieval",
            layers=(layer,),
            results=setup.results,
        )
        return made[layer]

    found: dict[str, Found] = {}
    for run in tables.TABLE_3:  # the mixtures that the paper's retrieval compares
        joined = _over_runs(setup, run, (sketches, photos), lambda who: {"": make(who)})
        found[run] = joined if isinstance(joined, NotRun) else joined[""]
    found |= _over_baselines(setup, (sketches, photos), make)
    curves = {
        run: {
            name: [(point.negatives, *point.value) for point in curve]
            for name, curve in tables.curves_of(record).items()
        }
        for run, record in found.items()
        if isinstance(record, ResultRecord)
    }
    return tables.figure_4(found), curves


def retrieval_table(
    setup: Setup,
    sketches: Sequence[Records],
    photos: Sequence[Records],
    checkpoints: Mapping[str, str],
    *,
    class_map: ClassMap | None,
) -> Table:
    """Retrieves photos by sketches of their class, with baselines and checkpoints.

    Args:
      setup: see `Setup`.
      sketches: data sets of queries.
      photos: data sets of the gallery.
      checkpoints: {name: path}.
      class_map: see `mix`.

    Returns:
      The table.
    """

    def make(who: FeatureExtractor, *layers: str) -> dict[str, ResultRecord]:
        return evaluate.retrieval(
            who,
            sketches,
            photos,
            class_map=class_map,
            layers=layers or None,
            results=setup.results,
        )

    baselines = _over_baselines(setup, (), lambda who, layer: make(who, layer)[layer])
    found: dict[tuple[str, str], Found] = {(name, ""): one for name, one in baselines.items()}
    for name, path in checkpoints.items():
        made = make(NamedModel(name, load_model(path)))
        found |= {(name, layer): record for layer, record in made.items()}
    return tables.retrieval_table(found)


def _over_baselines(
    setup: Setup, datasets: Sequence[str], make: Callable[[FeatureExtractor, str], Found]
) -> dict[str, Found]:
    """Evaluates what was not learned from sketches: hand-crafted descriptors, and pool5 of the pretrained
    network.
    """
    if missing := _missing_data(setup, datasets):
        return dict.fromkeys((*BASELINES, POOL5), _not_run(missing))
    found = {name: make(HandCrafted(name), NO_LAYER) for name in BASELINES}
    if setup.pretrained is None:
        return found | {POOL5: NOT_PRETRAINED}
    return found | {POOL5: make(NamedModel(POOL5, load_model(setup.pretrained)), "pool5")}


# --- What is there, and what is missing ---


def _named(dataset: str, split: str) -> tuple[str, str]:
    """NAME or NAME:SPLIT -> name and split."""
    spec = DataSetSpec.parse(dataset)
    return spec.name, spec.split or split


def _missing_data(setup: Setup, datasets: Sequence[str]) -> list[str]:
    there = list_datasets(setup.data_dir)
    names = [DataSetSpec.parse(dataset).name for dataset in datasets]
    return [f"needs {name}, {_where(name)}" for name in names if name not in there]


def _where(name: str) -> str:
    """Says where a data set comes from."""
    return f"get it as data_builders/{name.partition('/')[0]}/README.md says"


def _missing_runs(setup: Setup, run: str) -> list[str]:
    """Names the folds of a run whose model is not finished, and the command that trains them."""
    folders = [setup.runs / run / f"fold{fold}" for fold in setup.folds]
    if not (states := [f"{name} ({s})" if s else name for name, s in _unfinished(setup, folders)]):
        return []
    needed = f"needs the model {', '.join(states)}, train it with: `{train_command(setup, run)}`"
    return [needed, *_missing_data(setup, _training_sets(run))]


def _unfinished(setup: Setup, folders: Sequence[pathlib.Path]) -> Iterator[tuple[str, str]]:
    """Yields the name of each run that has no checkpoint, or not its last, and how far it is."""
    for folder in folders:
        name = folder.relative_to(setup.runs).as_posix()
        step = last_step(folder / FOLDER)
        if step is None:
            yield name, ""
        elif step < (steps := read_config(folder).get("steps", step)):
            yield name, f"at step {step} of {steps}"


def train_command(setup: Setup, run: str) -> str:
    """Words the command that trains a run of the paper, all folds."""
    mixture = "S" if run in RESIZED else run
    return (
        f"python -m launch.train --data_dir={setup.data_dir} --init=runs/ported --run_dir={setup.runs / run} "
        f"--fold=all --datasets={','.join(_training_sets(run))} --mixture={mixture}"
        + (f" --resizing={RESIZED[run]}" if run in RESIZED else "")
    )


def _training_sets(run: str) -> list[str]:
    """Names the data sets that a run of the paper is trained on."""
    by_letter = {"S": SKETCHES, "I": PHOTOS, "E": EDGES}
    return [by_letter[letter] for letter in ("S" if run in RESIZED else run).split("+")]


def _not_run(reasons: Sequence[str]) -> NotRun:
    return NotRun("; ".join(reasons))


def _open_run(setup: Setup, run: str, fold: int) -> NamedModel:
    return NamedModel(f"{run}/fold{fold}", load_model(setup.runs / run / f"fold{fold}"))


def _over_runs(
    setup: Setup,
    run: str,
    datasets: Sequence[str],
    make: Callable[[NamedModel], Mapping[str, ResultRecord]],
) -> Mapping[str, ResultRecord] | NotRun:
    """Evaluates the models of all folds on the same data and joins what they give, name by name."""
    if missing := [*_missing_data(setup, datasets), *_missing_runs(setup, run)]:
        return _not_run(missing)
    folds = [make(_open_run(setup, run, fold)) for fold in setup.folds]
    return {name: over_folds([results[name] for results in folds]) for name in folds[0]}


# --- Recognition, fold by fold ---


def _recognition(setup: Setup, run: str, sketches: str) -> Found:
    """Tests the model of each fold on its own fold."""
    if missing := [*_missing_data(setup, [sketches]), *_missing_runs(setup, run)]:
        return _not_run(missing)
    records = []
    for fold in setup.folds:
        test = open_records(setup.data_dir, sketches, f"fold{fold}")
        _check_unseen(setup.runs / run / f"fold{fold}", test)
        network = _open_run(setup, run, fold)
        _check_resizing(network, run)
        _check_classes(network, test)
        records.append(evaluate.recognise(network, [test], results=setup.results, fold=fold))
    return join_folds(records)


def _check_classes(network: NamedModel, test: Records) -> None:
    """Refuses a model that does not know all classes: it would be scored on an easier task."""
    if unknown := sorted({*test.class_names} - {*network.model.class_names}):
        raise ValueError(
            f"{network.name} does not know {len(unknown)} of the {len(test.class_names)} classes of "
            f"{test.name}, {unknown[0]} for one; train it with all of them, or score it by itself with "
            "--checkpoint"
        )


def _check_unseen(run_dir: pathlib.Path, test: Records) -> None:
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


def _check_resizing(network: NamedModel, run: str) -> None:
    """Refuses a model whose sketches were resized otherwise than its run's name says."""
    expected = RESIZED.get(run, EDGE_PRESERVING)
    if network.model.config.resizing != expected:
        raise ValueError(
            f"{network.name} was trained with resizing={network.model.config.resizing}, expected {expected}; "
            "move the run into a folder of another name"
        )


def _linear(setup: Setup, who: FeatureExtractor, layer: str, sketches: str) -> ResultRecord:
    """Trains a linear classifier on the other folds, and tests it on each fold."""
    splits = [s for s in list_datasets(setup.data_dir)[sketches] if s.startswith("fold")]
    if len(splits) < 2:
        raise ValueError(
            f"{sketches} is not cut into folds; name a data set that is, as {SKETCHES}"
        )
    records = []
    for fold in setup.folds:
        others = "+".join(split for split in splits if split != f"fold{fold}")
        train, test = (
            [open_records(setup.data_dir, sketches, split)] for split in (others, f"fold{fold}")
        )
        records.append(
            evaluate.linear_recognition(
                who, train, test, layer=layer, results=setup.results, fold=fold
            )
        )
    return join_folds(records)
