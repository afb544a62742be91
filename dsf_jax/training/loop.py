"""The training loop: from a configuration and data to a trained state, resumable at every checkpoint."""

import contextlib
import functools
import os
import pathlib
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from dsf_jax.data.batches import Batch
from dsf_jax.data.files import only_writer
from dsf_jax.data.training_batches import prefetch
from dsf_jax.models.alexnet import Params
from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import ModelCard
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.metrics_log import SHOWN, MetricsLog, diverged, read_metrics
from dsf_jax.training.optimiser import TRAINED, learning_rate_at
from dsf_jax.training.parallel import data_parallel, is_primary, replicate, split
from dsf_jax.training.run_directory import claim
from dsf_jax.training.step import TrainState, held_out_step, init_state, make_step, random_views


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
    held_out: grain.MapDataset | None = None,
    command: Mapping[str, Any] | None = None,
) -> Result:
    """Trains, or goes on training where a run in the same folder stopped.

    Several processes call it together; the folder must be the same for all.

    Args:
      config: of the run.
      make_batches: lists this process's batches, random access by step, as `training_batches` and
        `cached_batches` do, from the parameters that training goes on with; not called when nothing
        is left to train.
      card: of the model; its fresh layers learn at `fresh_multiplier` times the rate.
      params: start values, {layer: {"kernel", "bias"}}; donated: read the result's instead.
      run_dir: gets config.json, metrics.jsonl, TensorBoard files and checkpoints/.
      total_examples: that an epoch shows.
      data: what is trained on, in words; kept with the configuration, and a run goes on with the
        same data only.
      held_out: this process's batches of examples that are not trained on, from
        `held_out_batches`, scored at every checkpoint and at the end; None scores none.
      command: kept in config.json: what to call again to repeat the run.

    Returns:
      The final state.

    Raises:
      ValueError: when the folder holds a run with another configuration, data or start, or a
        checkpoint that cannot be read.
      FloatingPointError: when the loss or a parameter is not finite; no such state is saved.
      ConnectionError: when another process of the run is gone.
      OSError: when another process writes to the folder, or the disk is full.
    """
    run_dir = pathlib.Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    with only_writer(run_dir) if is_primary() else contextlib.nullcontext():
        steps = config.total_steps(total_examples)
        claim(run_dir, config, card, params, data, command or {}, steps=steps)
        with _others_there():
            return _train(config, make_batches, card, params, run_dir, total_examples, held_out)


def _train(
    config: TrainConfig,
    make_batches: Callable[[Params], grain.MapDataset],
    card: ModelCard,
    params: Params,
    run_dir: pathlib.Path,
    total_examples: int,
    held_out: grain.MapDataset | None,
) -> Result:
    settings = config.optimisation(card.fresh_layers, total_examples)
    model = card.network(dropout_rate=config.dropout_rate, dtype=config.dtype())
    optimiser, step = make_step(
        model,
        settings,
        config.train_layers,
        seed=config.seed,
        size=card.size,
        accumulate=config.accumulate,
    )
    parallel_step = data_parallel(step)
    score_batch = data_parallel(
        functools.partial(held_out_step, model=model, size=card.size), donate=False
    )
    trained_card = card._replace(
        fresh_layers=tuple(x for x in card.fresh_layers if x not in TRAINED[config.train_layers])
    )
    steps = settings.steps
    with checkpoints.manager(run_dir / checkpoints.FOLDER, keep=config.keep) as saved:
        state = init_state(params, optimiser, config.train_layers)
        state = checkpoints.restore(saved, state) or replicate(state)
        first = int(state.step)
        if first >= steps:
            return Result(state, finished=True)
        checkpoints.check_space(saved.directory, (state.params, state.opt_state))
        # Until the first step there is nothing to save, and a signal ends the process as usual.
        batches = prefetch(make_batches(state.params), first, steps)
        with (
            _stop_signals() as stopped,
            MetricsLog(
                run_dir,
                first=first,
                steps=steps,
                steps_per_epoch=config.steps_per_epoch(total_examples),
                batch_size=config.batch_size,
                every=config.log_every,
                learning_rate=learning_rate_at(settings),
            ) as log,
        ):

            def score(params: Params, step: int) -> float | None:
                if held_out is None:
                    return None
                batches = prefetch(held_out, 0, len(held_out))
                return log.held_out(step, [score_batch(params, split(b)) for b in batches])

            for number, batch in zip(range(first + 1, steps + 1), batches, strict=True):
                if number == first + 1 or (number - 1) % config.save_every == 0:
                    log.pictures(number, functools.partial(_shown, batch, config, number, card))
                state, metrics = parallel_step(state, split(batch, accumulate=config.accumulate))
                # The order is a contract: metrics of a step are on disk before the checkpoint that
                # follows it, so a resumed run never lacks a line; lines after the last checkpoint
                # are dropped on resuming.
                log.add(number, metrics)
                stop = _agreed(stopped, log.due(number))
                if stop or number % config.save_every == 0 or number == steps:
                    log.write()
                    _check_finite(state)
                    # A signal leaves little time.
                    value = None if stop and number < steps else score(state.params, number)
                    checkpoints.save(saved, state, trained_card, score=value)
                if stop:
                    return Result(state, finished=number == steps)
    return Result(state, finished=True)


def _shown(batch: Batch, config: TrainConfig, number: int, card: ModelCard) -> dict[str, Any]:
    """The views that the network sees of a batch's first examples; none of cached features."""
    if "pool5" in batch:
        return {}
    some = {kind: {n: x[:SHOWN] for n, x in group.items()} for kind, group in batch.items()}
    views = random_views(some, config.seed, jnp.int32(number - 1), card.size)
    return {kind: np.asarray(v) for kind, v in zip(sorted(some), views, strict=True)}


def _agreed(stopped: list[int], now: bool) -> bool:
    """Tells whether to stop, equally on all processes; several ask one another `now` alone."""
    if jax.process_count() == 1:
        return bool(stopped)
    return now and bool(np.any(multihost_utils.process_allgather(np.array(len(stopped)))))


@contextlib.contextmanager
def _others_there() -> Iterator[None]:
    """Words what the runtime raises when another process of the run is gone."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"process {jax.process_index()} of {jax.process_count()} lost another one ({reason}); "
            "start all of them again: the run goes on from its last checkpoint"
        ) from error


def _check_finite(state: TrainState) -> None:
    """Refuses a state that training could not go on from."""
    if not np.isfinite(optax.tree.norm(state.params)):
        raise FloatingPointError(diverged("a parameter is not finite", int(state.step)))


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


def held_out_accuracy(run_dir: str | os.PathLike[str]) -> float | None:
    """Returns a run's last accuracy on held-out data, or None where none was taken."""
    taken = [x for x in read_metrics(run_dir) if checkpoints.SCORE in x]
    return taken[-1][checkpoints.SCORE] if taken else None
