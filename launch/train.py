r"""Trains a network on prepared data sets; run the same command again to go on where it stopped.

python -m launch.train --data_dir=data --init=runs/ported --run_dir=runs/emoji \
    --datasets=openmoji/sketch,openmoji/photo,openmoji/edge --mixture=S+I+E

Three folds, one model each (--fold=all, or --fold=0, 1, 2 by processes of their own):

python -m launch.train --data_dir=data --init=runs/ported --run_dir=runs/S+I --fold=all \
    --datasets=tu_berlin/sketch,hust_si/photo --mixture=S+I
"""

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast, get_args

import jax
from absl import flags

from dsf_jax.data.class_maps import ClassMap, read_class_map
from dsf_jax.data.datasets import open_held_out, open_mixture, read_class_list, read_folds
from dsf_jax.data.files import write_atomic
from dsf_jax.data.mixtures import MIXTURES, Mixture
from dsf_jax.data.unseen import UnseenClasses, read_unseen
from dsf_jax.evaluation.cards import held_out_score
from dsf_jax.images.resize import BINARY_PEN, PEN
from dsf_jax.images.views import Resizing
from dsf_jax.models.embedding import DIMENSION
from dsf_jax.models.model import Model, with_classes
from dsf_jax.training import start
from dsf_jax.training.agreement import check_agreement
from dsf_jax.training.checkpoints import load_model, record_retrieval
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.loop import held_out_accuracy
from dsf_jax.training.parallel import is_primary
from dsf_jax.training.run_directory import as_written_now, read_config
from launch import common, distributed, shared_flags

ALL = "all"
BINARY = "binary"
FOLDS_FILE = "folds.json"

shared_flags.define_flags(TrainConfig)
flags.adopt_module_key_flags(distributed)
_RUN_DIR = flags.DEFINE_string(
    "run_dir", None, "Folder of the run: checkpoints, metrics, configuration. Must be given."
)
_REPEAT = flags.DEFINE_string(
    "repeat",
    None,
    "Folder of a run (RUN/foldN of one by folds) to repeat in another --run_dir: its settings stand "
    "for all flags not given.",
)
_DATA_DIR = shared_flags.define_data_dir()
_DATASETS = shared_flags.define_datasets(required=False)
_SPLIT = shared_flags.define_split("train")
_FOLD = flags.DEFINE_string(
    "fold",
    None,
    "Holds this fold, 0, 1 or 2, out of the data sets that have folds (tu_berlin/sketch), trains on "
    f"the others in RUN_DIR/foldN; {ALL} does so with each and writes mean and spread of the "
    f"held-out accuracies to RUN_DIR/{FOLDS_FILE}.",
)
_HELD_OUT = flags.DEFINE_list(
    "held_out",
    [],
    "Data sets, NAME:SPLIT, that are scored at every checkpoint and not trained on, single angle; "
    "--fold sets it.",
)
_MIXTURE = flags.DEFINE_enum(
    "mixture", "S+I+E", list(MIXTURES), "Domains to train on: S sketches, I photos, E edge maps."
)
_CLASSES = shared_flags.define_classes()
_CLASS_MAP = shared_flags.define_class_map()
_UNSEEN = shared_flags.define_unseen("not trained on")
_INIT = flags.DEFINE_string(
    "init",
    None,
    f"Checkpoint to start from (see launch.port_weights), or {start.RANDOM}. Must be given, unless "
    "--repeat is.",
)
_BACKBONE = shared_flags.define_backbone()
_RESIZING = flags.DEFINE_enum(
    "resizing",
    None,
    get_args(Resizing),
    "How drawings get to the network's size, in training and whenever the model is used: their "
    "points, or, to compare with, their pixels by interpolation. By default as --init has it.",
)
_PEN = flags.DEFINE_string(
    "pen",
    None,
    "What draws points, in training and whenever the model is used: the width of an anti-aliased pen "
    f"in pixels of the input, or {BINARY} for the paper's map of ink and paper. By default as --init "
    f"has it; {PEN:g} where that was never trained.",
)
_EMBEDDING = flags.DEFINE_integer(
    "embedding",
    None,
    "Numbers of an embedding layer in place of the network's last one, which pictures are then searched "
    f"by; 0 for none. By default as --init has it, and {DIMENSION} where it has none and --loss needs one.",
)
# What config.json keeps beside TrainConfig's own fields, so that --repeat has it.
_KEPT = (
    _DATA_DIR,
    _DATASETS,
    _SPLIT,
    _FOLD,
    _HELD_OUT,
    _MIXTURE,
    _INIT,
    _BACKBONE,
    _RESIZING,
    _PEN,
    _EMBEDDING,
)


def _complete(values: Mapping[str, Any]) -> bool:
    """Returns whether the flags name a run and what it starts from."""
    source = values["repeat"] or (values["datasets"] and values["init"])
    return bool(values["run_dir"] and source)


flags.register_multi_flags_validator(
    ["run_dir", "datasets", "init", "repeat"],
    _complete,
    message="--run_dir must be given, and --datasets and --init, unless --repeat is",
)


def _pen(text: str | None) -> float | None:
    """Reads --pen; None where it is not given."""
    if text in (None, BINARY):
        return None if text is None else BINARY_PEN
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(
            f"--pen={text} is neither a width in pixels nor {BINARY}; give one"
        ) from error


def _print(text: Any) -> None:
    """Prints, on one process of the run."""
    if is_primary():
        print(text, flush=True)


def _take_over(run: str | None) -> dict[str, Any]:
    """Gives flags that are not given the values of a run; returns the run's configuration."""
    if run is None:
        return {}
    config = as_written_now(read_config(run))
    pen = config["model"]["pen"]
    settings = {"pen": BINARY if pen == BINARY_PEN else str(pen), **config["train"]}
    for name, value in {**settings, **config["command"]["flags"]}.items():
        flag = flags.FLAGS[common.new_spelling("train", name)]
        if flag.using_default_value:
            flag.value = value
    if _INIT.value != start.RANDOM and not _BACKBONE.present:
        flags.FLAGS[_BACKBONE.name].value = None  # earlier versions wrote a default down
    return config


def _repeated_unseen(repeated: Mapping[str, Any]) -> UnseenClasses | None:
    """Returns the unseen classes of the run that is repeated, as its config.json keeps them."""
    kept = repeated.get("command", {}).get("unseen")
    return kept and UnseenClasses(**kept | {"classes": tuple(kept["classes"])})


class _Job(NamedTuple):
    """What all folds of a run have in common."""

    config: TrainConfig
    class_names: list[str] | None
    class_map: ClassMap | None
    unseen: UnseenClasses | None


def _train_once(
    job: _Job,
    run_dir: pathlib.Path,
    datasets: Sequence[str],
    held_out: Sequence[str],
    fold: str | None = None,
) -> bool:
    """Trains one model; returns whether it is finished."""
    config = job.config
    model = start.starting_point(
        cast(str, _INIT.value),
        _BACKBONE.value,
        resizing=cast(Resizing | None, _RESIZING.value),
        pen=_pen(_PEN.value),
        loss=config.loss,
        embedding=_EMBEDDING.value,
        seed=config.seed,
    )
    mixture, scored = _open_data(job, model, datasets, held_out)
    model = with_classes(model, mixture.class_names, seed=config.seed)
    for hint in (start.rough_start(config, model), start.loss_note(config.loss)):
        if hint:
            _print(hint)
    devices = f"{jax.device_count()} {jax.default_backend()} device(s)"
    _print(f"{model.backbone.title} on {devices} of {jax.process_count()} process(es)")
    given = {flag.name: flag.value for flag in _KEPT} | {"fold": fold}
    unseen = job.unseen and job.unseen._asdict()
    command = {"flags": given, "class_map": job.class_map, "unseen": unseen}
    result = start.train_on(
        config, mixture, model, run_dir,
        held_out=scored, command=command, watchdog=distributed.watchdog(),
    )  # fmt: skip
    done = "trained" if result.finished else "stopped by a signal; run the same command to go on"
    _print(f"step {int(result.state.step)}: {done}, saved in {run_dir}")
    if result.finished and (accuracy := held_out_accuracy(run_dir)) is not None:
        _print(f"accuracy on held-out data, single angle: {accuracy:.4f}")
    if result.finished and scored:
        _record_retrieval(run_dir, scored)
    return result.finished


def _open_data(
    job: _Job, model: Model, datasets: Sequence[str], held_out: Sequence[str]
) -> tuple[Mixture, Mixture | None]:
    """Opens what is trained on and what is scored, and prints what they hold."""
    seen: dict[str, Any] = {
        "class_map": job.class_map,
        "resizing": model.config.resizing,
        "size": model.size,
    }
    data_dir, split = _DATA_DIR.value, _SPLIT.value
    mixture = open_mixture(
        data_dir, datasets, split, _MIXTURE.value,
        class_names=job.class_names, unseen=job.unseen, **seen,
    )  # fmt: skip
    _print(f"{mixture.per_class()}\n{mixture}")
    scored = open_held_out(data_dir, held_out, split, class_names=mixture.class_names, **seen)
    if scored:
        _print(f"held out: {len(scored.drawings)} drawings and {len(scored.photos)} photos")
    return mixture, scored


def _record_retrieval(run_dir: pathlib.Path, held_out: Mixture) -> None:
    """Writes into the run's card how well it retrieves held-out photos, where there are any."""
    model = load_model(run_dir)
    score = held_out_score(model, held_out)
    if score is None:
        return
    best = score.best
    _print(f"mAP on held-out data: {best.mean_average_precision:.4f}, by {best.feature}")
    if is_primary():
        record_retrieval(run_dir, model, score)


def _train_folds(job: _Job, run_dir: pathlib.Path, datasets: Sequence[str]) -> None:
    """Trains one fold, or all and their summary."""
    folds = read_folds(_DATA_DIR.value, datasets)
    known = [str(i) for i in range(folds.number)]
    if _FOLD.value not in (*known, ALL):
        raise ValueError(
            f"--fold={_FOLD.value} is unknown; choose one of {', '.join(known)}, {ALL}"
        )
    for fold in known if _FOLD.value == ALL else [_FOLD.value]:
        _print(f"\nfold {fold} of {folds.number} is held out")
        if not _train_once(job, run_dir / f"fold{fold}", *folds.hold_out(int(fold)), fold):
            return
    if _FOLD.value == ALL and is_primary():
        _summarise(run_dir, known)


def _summarise(run_dir: pathlib.Path, folds: list[str]) -> None:
    accuracies = [held_out_accuracy(run_dir / f"fold{fold}") for fold in folds]
    taken = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(taken) < len(folds):
        raise ValueError(
            f"{len(folds) - len(taken)} of {len(folds)} folds in {run_dir} have no held-out accuracy in "
            "their metrics.jsonl; train these folds again"
        )
    summary = {
        "held_out_accuracy": dict(zip(folds, accuracies, strict=True)),
        "mean": statistics.mean(taken),
        "standard deviation": statistics.stdev(taken),
    }
    write_atomic(run_dir / FOLDS_FILE, json.dumps(summary, indent=1) + "\n")
    _print(
        f"single angle over {len(folds)} folds: {summary['mean']:.4f}, standard deviation "
        f"{summary['standard deviation']:.4f}, from {min(taken):.4f} to {max(taken):.4f}"
    )


def main() -> None:
    """Trains as the flags say."""
    distributed.join()
    repeated = _take_over(_REPEAT.value)
    job = _Job(
        shared_flags.config_from_flags(TrainConfig),
        read_class_list(_CLASSES.value) or repeated.get("model", {}).get("class_names"),
        read_class_map(_CLASS_MAP.value) or repeated.get("command", {}).get("class_map"),
        read_unseen(_UNSEEN.value) or _repeated_unseen(repeated),
    )
    # Their paths may differ from machine to machine; what lies there is compared as it is read.
    kept = {f"--{flag.name}": flag.value for flag in _KEPT if flag.name not in ("data_dir", "init")}
    lists = {"--classes": job.class_names, "--class_map": job.class_map, "--unseen": job.unseen}
    check_agreement(dataclasses.asdict(job.config) | kept | lists)
    run_dir = pathlib.Path(cast(str, _RUN_DIR.value))
    datasets = _DATASETS.value
    if _FOLD.value is None:
        _train_once(job, run_dir, datasets, _HELD_OUT.value)
    elif _HELD_OUT.value:
        raise ValueError("--fold holds its own fold out; omit --held_out, or --fold")
    else:
        _train_folds(job, run_dir, datasets)


if __name__ == "__main__":
    common.run(main)
