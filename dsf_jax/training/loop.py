"""The training loop: from a configuration and data to a trained state, resumable at every checkpoint."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import optax
import tensorboardX
from tqdm import tqdm

from dsf_jax.data.batches import prefetch
from dsf_jax.data.files import only_writer, write_whole
from dsf_jax.models.alexnet import Params
from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import ModelCard
from dsf_jax.training.parallel import data_parallel, split
from dsf_jax.training.step import (
    TRAINED,
    Optimisation,
    TrainLayers,
    TrainState,
    init_state,
    make_step,
)

CONFIG_FILE, METRICS_FILE = "config.json", "metrics.jsonl"
MAY_CHANGE = ("epochs", "save_every", "log_every")  # when a run goes on


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The settings of a training run: the paper's where it gives them (learning rate; momentum, decay
    and dropout "as AlexNet"). What it leaves open is in BUILD_NOTES.md.

    Attributes:
      epochs: how many times as many examples are shown as the mixture holds.
      batch_size: examples of a step, over all devices.
      learning_rate: of layers that start from ported weights.
      momentum: of SGD.
      weight_decay: of kernels; biases are not decayed.
      fresh_multiplier: layers that start from random values learn this many times faster.
      dropout_rate: in [0, 1).
      train_layers: all, fc (convolutions frozen) or last (fc8 alone).
      cached_views: 0 makes a new random view of each example at each step; n > 0, with frozen
        convolutions only, makes n random views of each example once and keeps their pool5.
      seed: of the order, the views, dropout and the fresh layers.
      save_every: steps between checkpoints.
      log_every: steps between lines of metrics.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 5e-4
    fresh_multiplier: float = 10.0
    dropout_rate: float = 0.5
    train_layers: TrainLayers = "all"
    cached_views: int = 0
    seed: int = 0
    save_every: int = 500
    log_every: int = 10

    def __post_init__(self) -> None:
        """Refuses values that no run can have."""
        for name in ("epochs", "batch_size", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1; raise it")
        for name in ("learning_rate", "fresh_multiplier"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be above 0 and finite; change it"
                )
        if not 0 <= self.weight_decay < np.inf:
            raise ValueError(
                f"weight_decay={self.weight_decay} must be finite and not below 0; change it"
            )
        if not 0 <= self.dropout_rate < 1 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"dropout_rate={self.dropout_rate} and momentum={self.momentum} must lie in [0, 1); "
                "change them"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed} must lie between 0 and {2**31 - 1}; change it")
        if self.cached_views < 0 or (self.cached_views and self.train_layers == "all"):
            raise ValueError(
                f"cached_views={self.cached_views} needs frozen convolutions, not "
                f"train_layers={self.train_layers!r}; take train_layers=fc, or cached_views=0"
            )

    def optimisation(self, fresh_layers: tuple[str, ...]) -> Optimisation:
        """Picks the optimiser's settings."""
        return Optimisation(
            self.learning_rate,
            self.momentum,
            self.weight_decay,
            self.fresh_multiplier,
            fresh_layers,
        )


class Result(NamedTuple):
    """How a run ended: finished, or stopped by a signal, saved, and to go on when run again."""

    state: TrainState
    finished: bool


def train(
    config: TrainConfig,
    make_batches: Callable[[Params], grain.MapDataset],
    card: ModelCard,
    params: Params,
    run_dir: str | os.PathLike[str],
    *,
    total_examples: int,
    data: Sequence[str],
) -> Result:
    """Trains, or goes on training where a run in the same folder stopped.

    Args:
      config: of the run.
      make_batches: lists the batches, random access by step, as `training_batches` and
        `cached_batches` do, from the parameters that training goes on with; not called when nothing
        is left to train.
      card: of the model; its fresh layers learn at `fresh_multiplier` times the rate.
      params: start values, {layer: {"kernel", "bias"}}; donated: read the result's instead.
      run_dir: gets config.json, metrics.jsonl, TensorBoard files and checkpoints/.
      total_examples: that an epoch shows.
      data: what is trained on, in words; kept with the configuration, and a run goes on with the
        same data only.

    Returns:
      The final state.

    Raises:
      ValueError: when the folder holds a run with another configuration, data or start, or a
        checkpoint that cannot be read.
      FloatingPointError: when the loss or a parameter is not finite; no such state is saved.
      OSError: when another process writes to the folder, or the disk is full.
    """
    run_dir = pathlib.Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with only_writer(run_dir):
        return _train(config, make_batches, card, params, run_dir, total_examples, data)


def _train(
    config: TrainConfig,
    make_batches: Callable[[Params], grain.MapDataset],
    card: ModelCard,
    params: Params,
    run_dir: pathlib.Path,
    total_examples: int,
    data: Sequence[str],
) -> Result:
    claim(run_dir, config, card, params, data)
    steps = config.epochs * -(-total_examples // config.batch_size)
    model = card.network(dropout_rate=config.dropout_rate)
    optimiser, step = make_step(
        model,
        config.optimisation(card.fresh_layers),
        config.train_layers,
        seed=config.seed,
        size=card.size,
    )
    parallel_step = data_parallel(step)
    trained_card = card._replace(
        fresh_layers=tuple(x for x in card.fresh_layers if x not in TRAINED[config.train_layers])
    )
    with checkpoints.manager(run_dir / checkpoints.FOLDER) as saved:
        state = init_state(params, optimiser, config.train_layers)
        state = checkpoints.restore(saved, state) or state
        first = int(state.step)
        if first < steps:
            checkpoints.check_space(saved.directory, (state.params, state.opt_state))
        # Until the first step there is nothing to save, and a signal ends the process as usual.
        batches = prefetch(make_batches(state.params), first, steps) if first < steps else iter(())
        with (
            _stop_signals() as stopped,
            _Log(run_dir, config, first, steps, total_examples) as log,
        ):
            for number, batch in zip(range(first, steps), batches, strict=True):
                state, metrics = parallel_step(state, split(batch))
                # The order is a contract: metrics of a step are on disk before the checkpoint that
                # follows it, so a resumed run never lacks a line; lines after the last checkpoint
                # are dropped on resuming.
                log.add(number + 1, metrics)
                if stopped or (number + 1) % config.save_every == 0:
                    log.write()
                    _save_finite(saved, state, trained_card)
                if stopped:
                    return Result(state, finished=number + 1 == steps)
        _save_finite(saved, state, trained_card)
    return Result(state, finished=True)


def _save_finite(saved: Any, state: TrainState, card: ModelCard) -> None:
    """Saves a state that training can go on from, and refuses any other."""
    if not np.isfinite(optax.tree.norm(state.params)):
        raise FloatingPointError(_diverged("a parameter is not finite", int(state.step)))
    checkpoints.save(saved, state, card)


def _diverged(what: str, step: int) -> str:
    return (
        f"{what} at step {step}; start again in another run_dir with a lower learning_rate "
        "(checkpoints before that step are kept)"
    )


def claim(
    run_dir: pathlib.Path,
    config: TrainConfig,
    card: ModelCard,
    params: Params,
    data: Sequence[str],
) -> None:
    """Writes config.json; where a run has got as far as a checkpoint, checks that it is this one.

    A run may go on for more epochs, and save and log at other steps; all else must be as it was.

    Args:
      run_dir: of the run.
      config: wanted.
      card: wanted.
      params: the start values; their fingerprint is kept.
      data: wanted.

    Raises:
      ValueError: naming what differs, with both values.
    """
    start = {"data": data, "fingerprint of the start values": fingerprint(params)}
    parts = {"train": dataclasses.asdict(config), "model": card._asdict(), "start": start}
    wanted = json.loads(json.dumps(parts))
    path = run_dir / CONFIG_FILE
    begun = path.exists() and checkpoints.has_checkpoint(run_dir / checkpoints.FOLDER)
    there = _read_json(path, path.read_text(encoding="utf-8")) if begun else wanted
    differing = [
        f"{name} is {_short(there.get(part, {}).get(name))} there and {_short(value)} now"
        for part, values in wanted.items()
        for name, value in values.items()
        if name not in MAY_CHANGE and there.get(part, {}).get(name) != value
    ]
    if differing:
        raise ValueError(
            f"{run_dir} holds a run with another configuration: {'; '.join(differing)}; "
            "choose another folder"
        )
    write_whole(path, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")


def fingerprint(params: Params) -> str:
    """Digests parameters: equal values, equal text."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(params)):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]


def _read_json(path: pathlib.Path, text: str) -> dict[str, Any]:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); choose another folder, or remove it"
        ) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them."""
    received: list[int] = []
    before = {
        s: signal.signal(s, lambda number, _: received.append(number))
        for s in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Log:
    """Progress bar, JSON lines and TensorBoard scalars of one run."""

    def __init__(
        self,
        run_dir: pathlib.Path,
        config: TrainConfig,
        first: int,
        steps: int,
        total_examples: int,
    ) -> None:
        self._every = config.log_every
        self._steps = steps
        self._batch_size = config.batch_size
        self._steps_per_epoch = -(-total_examples // config.batch_size)
        self._pending: list[tuple[int, Any]] = []
        path = run_dir / METRICS_FILE
        kept = [line for line in read_metrics(run_dir) if line["step"] <= first]
        write_whole(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(str(run_dir / "tensorboard"), purge_step=first + 1)
        self._bar = tqdm(
            total=steps * config.batch_size,
            initial=first * config.batch_size,
            unit="image",
            desc="training",
        )

    def __enter__(self) -> "_Log":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self.write()
        self._bar.close()
        self._board.close()
        self._file.close()

    def add(self, step: int, metrics: Any) -> None:
        """Takes one step's metrics; they stay on the device until the next line is due."""
        self._pending.append((step, metrics))
        self._bar.update(self._batch_size)
        if step % self._every == 0 or step == self._steps:
            self.write()

    def write(self) -> None:
        """Writes the mean over the pending steps as one line."""
        if not self._pending:
            return
        step = self._pending[-1][0]
        sums = jax.device_get([metrics for _, metrics in self._pending])
        self._pending = []
        line: dict[str, float] = {"step": step, "epoch": round(step / self._steps_per_epoch, 4)}
        for name in sums[0]:
            line[name] = float(
                np.sum([m[name][0] for m in sums]) / np.sum([m[name][1] for m in sums])
            )
        if not np.isfinite(line["loss"]):
            raise FloatingPointError(_diverged(f"the loss is {line['loss']}", step))
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name in ("loss", "accuracy"):
            self._board.add_scalar(f"train/{name}", line[name], step)
        self._bar.set_postfix(
            step=step,
            epoch=f"{line['epoch']:.1f}",
            loss=f"{line['loss']:.3f}",
            accuracy=f"{line['accuracy']:.3f}",
        )


def read_metrics(run_dir: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads a run's metrics, one dict a line; an incomplete last line, left by a kill, is dropped."""
    path = pathlib.Path(run_dir) / METRICS_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [_read_json(path, line) for line in lines]
