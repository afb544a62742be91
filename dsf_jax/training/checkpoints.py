"""Saves and restores training states and models: the only importer of orbax.

A checkpoint folder holds one sub-folder per step, each with the items `params`, `model` (JSON: the
`ModelConfig` and the parameters' digest) and, when written by training, `opt_state`. A step appears
under its name only when it is complete, whenever the writer dies.
"""

import contextlib
import difflib
import errno
import json
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from dsf_jax.data import quickstart
from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.models.model_card import ModelCard, RetrievalScore
from dsf_jax.training import card_files
from dsf_jax.training.parallel import one_copy, replicate, replication
from dsf_jax.training.step import TrainState

FOLDER = "checkpoints"  # within a run directory
SCORE = "held_out_accuracy"
LATEST, BEST = "latest", "best"
_MAKE = "make one with python -m launch.train or python -m launch.port_weights"
_EMPTY = f"holds no checkpoint; {_MAKE}"
# Orbax says these of every checkpoint that is only read.
_EXPECTED = ("Given directory is read only", "Requested `tracked_metric`")
logging.getLogger("absl").addFilter(lambda record: not str(record.msg).startswith(_EXPECTED))
_ATTEMPTS = 5  # at a checkpoint, each of which may be replaced while it is read


@contextlib.contextmanager
def manager(folder: str | os.PathLike[str], *, keep: int = 2) -> Iterator[ocp.CheckpointManager]:
    """Opens a checkpoint folder for writing; leaving the context waits for saves under way.

    Several processes open it together, save together and restore together; the first one writes.

    Args:
      folder: made if absent.
      keep: how many latest checkpoints stay; the best of those that have a score stays too.

    Yields:
      The manager for `save` and `restore`.

    Raises:
      OSError: when the disk is full. Whole checkpoints are kept, and no part of another.
    """
    path = pathlib.Path(folder).absolute()
    kept = ocp.checkpoint_managers
    best = kept.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=kept.AnyPreservationPolicy([kept.LatestN(keep), best]),
        best_fn=_score,
        cleanup_tmp_directories=True,
    )
    there = path.exists()
    try:
        with ocp.CheckpointManager(path, options=options) as checkpoints:
            yield checkpoints
    except BaseException as error:
        for part in path.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(part, ignore_errors=True)
        if not there and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        # Orbax's storage reports a full disk as ValueError, in whatever is called next.
        if "No space left on device" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def _score(metrics: Mapping[str, float]) -> float:
    return metrics[SCORE]


def save(
    checkpoints: ocp.CheckpointManager,
    state: TrainState,
    *,
    score: float | None = None,
) -> None:
    """Starts saving a state under its step; a step that is there already is left as it is.

    Args:
      checkpoints: open folder, from `manager`.
      state: state of the run; its model's configuration is kept with the parameters.
      score: accuracy on held-out data, if it was taken: the higher the better.

    Raises:
      OSError: when the disk has too little space for it.
    """
    step = int(state.step)
    if step in checkpoints.all_steps():
        return
    checkpoints.wait_until_finished()  # it would wait anyway; now its bytes are counted
    check_space(checkpoints.directory, (state.model.params, state.opt_state))
    checkpoints.save(
        step,
        args=ocp.args.Composite(
            params=ocp.args.StandardSave(one_copy(state.model.params)),
            opt_state=ocp.args.StandardSave(one_copy(state.opt_state)),
            model=_described(state.model),
        ),
        metrics=None if score is None else {SCORE: score},
    )


def _described(model: Model) -> ocp.args.JsonSave:
    """Describes a checkpoint's parameters: what model they are of, and their digest."""
    told = {"fingerprint": model.digest(), "card": model.card._asdict()}
    return ocp.args.JsonSave(model.config.to_json() | told)


def restore(checkpoints: ocp.CheckpointManager, like: TrainState) -> TrainState | None:
    """Reads the latest complete state.

    Args:
      checkpoints: open folder, from `manager`.
      like: a state of the same structure and shapes.

    Returns:
      The state, placed as `data_parallel` takes it, or None where nothing has been saved.

    Raises:
      ValueError: when the checkpoint cannot be read.
    """
    step = checkpoints.latest_step()
    if step is None:
        return None
    with _reading(checkpoints, step):
        items = checkpoints.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(_abstract(like.model.params, replication())),
                opt_state=ocp.args.StandardRestore(_abstract(like.opt_state, replication())),
                model=ocp.args.JsonRestore(),
            ),
        )
        model = like.model.replace(params=items.params)
        _check_values(model, model.digest(), items.model)
    return TrainState(replicate(np.int32(step)), model, items.opt_state)


def save_model(folder: str | os.PathLike[str], model: Model) -> None:
    """Writes a model without a state of training, as step 0 of a new checkpoint folder.

    Args:
      folder: must not hold checkpoints yet.
      model: network with its parameters.

    Raises:
      FileExistsError: when there is a checkpoint in `folder`: nothing is ever overwritten.
      OSError: when the disk has too little space; `folder` is then as it was.
    """
    with manager(folder) as checkpoints:
        if checkpoints.latest_step() is not None:
            raise FileExistsError(
                f"{folder} already holds a checkpoint; choose another folder or remove it first"
            )
        check_space(checkpoints.directory, model.params)
        checkpoints.save(
            0,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(model.params), model=_described(model)
            ),
        )


def load_model(source: str | os.PathLike[str]) -> Model:
    """Reads a checkpoint and returns its model.

    Args:
      source: a checkpoint folder or a run directory that has one, whose latest checkpoint is read;
        FOLDER:best reads the one that scored best on held-out data, FOLDER:1500 that of step 1500,
        as does that step's own folder. Of one that training replaces meanwhile, the newer is read.

    Raises:
      FileNotFoundError: when there is no such complete checkpoint.
      ValueError: when the checkpoint cannot be read or does not fit its own configuration.
    """
    folder, which = _folder_and_step(source)
    path = _checkpoint_folder(folder)
    options = ocp.CheckpointManagerOptions(
        read_only=True, create=False, save_interval_steps=0, best_fn=_score
    )
    for _ in range(_ATTEMPTS):
        with ocp.CheckpointManager(path, options=options) as checkpoints:
            step = _chosen_step(checkpoints, which)
            try:
                with _reading(checkpoints, step):
                    model, digest = _read_model(checkpoints, step)
            except ValueError:
                # Training replaces its checkpoints: when this one is gone, there is a newer one.
                if (path / str(step)).exists():
                    raise
            else:
                return model.replace(card=card_files.completed(model.card, path, digest))
    raise FileNotFoundError(
        f"{path} has lost each of {_ATTEMPTS} checkpoints while it was read, the last of step {step}; "
        "wait for what writes there, or make that keep more of them"
    )


def _read_model(checkpoints: ocp.CheckpointManager, step: int) -> tuple[Model, str]:
    """Reads the model of one step, its card as it was saved, and its digest."""
    described = checkpoints.restore(
        step, args=ocp.args.Composite(model=ocp.args.JsonRestore())
    ).model
    like = jax.eval_shape(lambda: init_model(ModelConfig.from_json(described), 0))
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = ocp.args.StandardRestore(_abstract(like.params, first))
    params = checkpoints.restore(step, args=ocp.args.Composite(params=wanted)).params
    model = like.replace(params=params, card=ModelCard.from_json(described.get("card", {})))
    digest = model.digest()
    _check_values(model, digest, described, _export_of(pathlib.Path(checkpoints.directory)))
    return model, digest


def record_retrieval(source: str | os.PathLike[str], model: Model, score: RetrievalScore) -> Model:
    """Writes into a checkpoint's card how well its network retrieves; returns the model with it.

    Args:
      source: what the model was loaded from, see `load_model`.
      model: network with its parameters.
      score: what was measured.

    Raises:
      OSError: when it cannot be written.
      ValueError: when the file of earlier scores is damaged.
    """
    folder = _checkpoint_folder(_folder_and_step(source)[0])
    card_files.record(folder, model.digest(), score, model.card)
    return model.replace(card=model.card.with_retrieval(score))


def _check_values(model: Model, digest: str, *descriptions: Mapping[str, Any]) -> None:
    """Raises ValueError when parameters, of this digest, are not those that a description is of; orbax
    itself takes damaged values as they are.
    """
    for said in descriptions:
        saved = said.get("fingerprint", digest)
        if saved != digest and not model.digest_matches(saved):
            raise ValueError(
                f"its parameters have the digest {digest}, those that were saved {saved}"
            )


def _export_of(path: pathlib.Path) -> dict[str, Any]:
    """What an export folder says of the checkpoint in it; nothing where this is none."""
    try:
        config = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))
        return {"fingerprint": config["checkpoint_fingerprint"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folder_and_step(source: str | os.PathLike[str]) -> tuple[str, str]:
    """Cuts FOLDER:WHICH, or FOLDER/STEP; a folder whose own name has a colon is taken as it is."""
    folder, colon, which = str(source).rpartition(":")
    path = pathlib.Path(source).absolute()
    if colon and (which == BEST or which.isdecimal()) and not path.exists():
        return folder, which
    inside = next((p for p in (path, path.parent) if _is_step(p)), None)  # or an item of a step
    if inside:
        return str(inside.parent), inside.name
    return str(source), LATEST


def _is_step(path: pathlib.Path) -> bool:
    """Returns whether a folder is a step of a checkpoint folder, as `save` writes it."""
    return path.name.isdecimal() and (path / "params").is_dir() and (path / "model").is_dir()


def _chosen_step(checkpoints: ocp.CheckpointManager, which: str) -> int:
    steps = checkpoints.all_steps()
    if which == LATEST and steps:
        return max(steps)
    if which.isdecimal() and int(which) in steps:
        return int(which)
    scored = {
        step: score for step in steps if (score := _score_there(checkpoints, step)) is not None
    }
    if which == BEST and scored:
        return max(scored, key=lambda step: (scored[step], step))
    if not steps:
        raise FileNotFoundError(f"{checkpoints.directory} {_EMPTY}")
    missing = "a score" if which == BEST else f"step {which}"
    raise FileNotFoundError(
        f"{checkpoints.directory} has no checkpoint with {missing}, only those of the steps "
        f"{', '.join(map(str, sorted(steps)))}; name one of them or none for the latest"
    )


def _score_there(checkpoints: ocp.CheckpointManager, step: int) -> float | None:
    """Reads a checkpoint's score; None where it has none, or has just been replaced."""
    try:
        metrics = checkpoints.metrics(step)
    except Exception:  # orbax does not say which
        if (pathlib.Path(checkpoints.directory) / str(step)).exists():
            raise
        return None
    return None if metrics is None else _score(metrics)


@contextlib.contextmanager
def _reading(checkpoints: ocp.CheckpointManager, step: int) -> Iterator[None]:
    """Converts what orbax raises over damaged files to one line that names the checkpoint."""
    try:
        yield
    except Exception as error:  # whatever orbax trips over, the files are at fault
        if isinstance(error.__cause__, KeyboardInterrupt):  # it wraps this, too
            raise KeyboardInterrupt from error
        reason = str(error.__cause__ or error).partition("\n")[0]
        raise ValueError(
            f"checkpoint {checkpoints.directory / str(step)} cannot be read ({reason}); "
            "remove it to go on from an earlier one, or make it again"
        ) from error


def check_space(folder: pathlib.Path, tree: Any) -> None:
    """Refuses to start what would not fit: a save that fails half way says so many times over.

    Args:
      folder: that a checkpoint is to go to.
      tree: its arrays, taken at their uncompressed size.

    Raises:
      OSError: when they are larger than what is free on the folder's disk.
    """
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"it takes up to {needed >> 20} MiB, and {free >> 20} MiB are free; free some and run the command again",
            str(folder),
        )


def has_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a checkpoint folder has a complete step."""
    return last_step(folder) is not None


def last_step(folder: str | os.PathLike[str]) -> int | None:
    """Returns the number of a checkpoint folder's last complete step, None where there is none."""
    path = pathlib.Path(folder)
    names = [child.name for child in path.iterdir()] if path.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=None)


def _checkpoint_folder(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The folder itself, or the `checkpoints` in it, whichever has a step."""
    path = pathlib.Path(folder).absolute()
    for candidate in (path, path / FOLDER):
        if has_checkpoint(candidate):
            return candidate
    if path.exists() and not path.is_dir():
        raise FileNotFoundError(
            f"{path} is a file, and a checkpoint is a folder; name a run's folder, runs/NAME"
        )
    what = "holds no checkpoint" if path.is_dir() else "does not exist"
    raise FileNotFoundError(f"{path} {what}; {_remedy(path)}")


def _remedy(path: pathlib.Path) -> str:
    """Says what to name or do instead; of a quickstart that was stopped, never a similar folder."""
    if any(path.match(f"{quickstart.FOLDER}/{network}") for network in ("", quickstart.SECOND)):
        return f"make it with `make quickstart`, or python -m launch.quickstart; or {_MAKE}"
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    runs = {child.name: child for child in there if _holds_checkpoint(child)}
    if similar := difflib.get_close_matches(path.name, runs, n=1):
        return f"did you mean {runs[similar[0]]}? Or {_MAKE}"
    return _MAKE


def _holds_checkpoint(path: pathlib.Path) -> bool:
    try:
        return has_checkpoint(path) or has_checkpoint(path / FOLDER)
    except OSError:
        return False


def _abstract(tree: Any, placement: jax.sharding.Sharding) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement), tree)
