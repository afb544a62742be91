"""The training loop: from a configuration and data to a trained state, resumable at every checkpoint."""

import contextlib
import dataclasses
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

from dsf_jax.data.batches import TrainingBatch
from dsf_jax.data.files import directory_lock
from dsf_jax.data.training_batches import prefetch
from dsf_jax.models.model import Model
from dsf_jax.training import checkpoints
from dsf_jax.training.agreement import check_agreement
from dsf_jax.training.checkpoints import last_step
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.losses import loss_named
from dsf_jax.training.metrics_log import SHOWN, MetricsLog, diverged, read_metrics
from dsf_jax.training.optimiser import OptimiserConfig, learning_rate_at, make_optimiser
from dsf_jax.training.parallel import data_parallel, is_primary, replicate, split
from dsf_jax.training.run_directory import claim
from dsf_jax.training.step import (
    KEPT,
    StepConfig,
    TrainState,
    held_out_step,
    init_state,
    random_views,
    train_step,
)
from dsf_jax.training.watchdog import Watchdog


class Result(NamedTuple):
    """How a run ended: finished, or stopped by a signal, saved, and to go on when run again."""

    state: TrainState
    finished: bool


def train(
    config: TrainConfig,
    make_batches: Callable[[Model], grain.MapDataset],
    model: Model,
    run_dir: str | os.PathLike[str],
    *,
    total_examples: int,
    data: Sequence[str],
    held_out: grain.MapDataset | None = None,
    command: Mapping[str, Any] | None = None,
    watchdog: Watchdog | None = None,
) -> Result:
    """Trains, or goes on training where a run in the same folder stopped; returns the final state.

    Args:
      config: configuration of the run.
      make_batches: lists this process's batches, random access by step, as `training_batches` and
        `cached_batches` do, for the model that training goes on with; not called when nothing is
        left to train.
      model: network with its start values, which are donated: read the result's instead. Its fresh
        layers learn at `fresh_multiplier` times the rate.
      run_dir: folder that gets config.json, metrics.jsonl, TensorBoard files and checkpoints/; the
        same for all processes of the run, which call this together.
      total_examples: number of examples that an epoch shows.
      data: descriptions of what is trained on, kept with the run, which goes on with the same only.
      held_out: this process's batches of `held_out_batches`, scored at every checkpoint and at the
        end; None scores none.
      command: what to call again to repeat the run; kept in config.json.
      watchdog: ends this process when another one of the run is stuck.

    Raises:
      ValueError: when the folder holds a run with another configuration, data or start, or a
        checkpoint that cannot be read; when the processes differ in any of these.
      FloatingPointError: when the loss or a parameter is not finite; no such state is saved.
      ConnectionError: when another process of the run is gone.
      OSError: when another process writes to the folder, or the disk is full.
    """
    run_dir = pathlib.Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    steps = config.total_steps(total_examples)
    with contextlib.ExitStack() as opened:
        if watchdog:
            opened.callback(watchdog.close)
        opened.enter_context(_others_there())
        _check_agreement(config, model, run_dir, steps=steps, data=data, held_out=held_out)
        if is_primary():
            opened.enter_context(directory_lock(run_dir))
        claim(run_dir, config, model, data, command or {}, steps=steps)
        return _train(config, make_batches, model, run_dir, total_examples, held_out, watchdog)


def _check_agreement(
    config: TrainConfig,
    model: Model,
    run_dir: pathlib.Path,
    *,
    steps: int,
    data: Sequence[str],
    held_out: grain.MapDataset | None,
) -> None:
    """Raises ValueError unless all processes were started alike."""
    check_agreement(
        dataclasses.asdict(config)
        | {f"the model's {name}": value for name, value in model.config.to_json().items()}
        | {
            "data": list(data),
            "digest of the start values": model.digest(),
            "number of steps": steps,
            "number of held-out batches": 0 if held_out is None else len(held_out),
            "last checkpoint in the run's folder": last_step(run_dir / checkpoints.FOLDER),
        }
    )


def _train(
    config: TrainConfig,
    make_batches: Callable[[Model], grain.MapDataset],
    model: Model,
    run_dir: pathlib.Path,
    total_examples: int,
    held_out: grain.MapDataset | None,
    watchdog: Watchdog | None,
) -> Result:
    optimiser_config = config.optimiser_config(model.config, total_examples)
    step_config = _step_config(config, optimiser_config, model)
    parallel_step = _parallel_step(step_config)
    score = _scorer(held_out)
    steps = optimiser_config.steps
    with checkpoints.manager(run_dir / checkpoints.FOLDER, keep=config.keep) as saved:
        state = init_state(_as_trained(model, config, step_config), step_config)
        state = checkpoints.restore(saved, state) or replicate(state)
        first = int(state.step)
        if first >= steps:
            return Result(state, finished=True)
        checkpoints.check_space(saved.directory, (state.model.params, state.opt_state))
        # Until the first step there is nothing to save, and a signal ends the process as usual.
        batches = prefetch(make_batches(state.model.replace(dtype=jnp.float32)), first, steps)
        log_to = _metrics_log(config, optimiser_config, run_dir, first, total_examples)
        with _stop_signals(watchdog) as stopped, log_to as log:
            for number, batch in zip(range(first + 1, steps + 1), batches, strict=True):
                if number == first + 1 or (number - 1) % config.save_every == 0:
                    log.pictures(
                        number, functools.partial(_shown, state.model, batch, config, number)
                    )
                state, metrics = parallel_step(state, split(batch))
                if watchdog:
                    watchdog.step(number, metrics["loss"][0])
                # The order is a contract: metrics of a step are on disk before the checkpoint that
                # follows it, so a resumed run never lacks a line; lines after the last checkpoint
                # are dropped on resuming.
                log.add(number, metrics)
                stop = _agreed(stopped, log.due(number))
                if stop or number % config.save_every == 0 or number == steps:
                    log.write()
                    _check_finite(state)
                    with _slow(watchdog, f"the save of step {number}"):
                        # A signal leaves little time.
                        value = None if stop and number < steps else score(state.model, number, log)
                        checkpoints.save(saved, state, score=value)
                if stop:
                    return Result(state, finished=number == steps)
    return Result(state, finished=True)


@functools.lru_cache(maxsize=4)
def _parallel_step(config: StepConfig) -> Callable[..., Any]:
    """Kept, so that folds that differ in their data alone compile one step."""
    return data_parallel(functools.partial(train_step, config=config))


@functools.cache
def _parallel_score() -> Callable[..., Any]:
    return data_parallel(held_out_step, donate=False)


def _step_config(
    config: TrainConfig, optimiser_config: OptimiserConfig, model: Model
) -> StepConfig:
    return StepConfig(
        make_optimiser(optimiser_config),
        loss_named(config.loss),
        model.backbone.learning(config.train_layers),
        config.dropout_rate,
        config.seed,
        config.hand,
        config.accumulate,
    )


def _as_trained(model: Model, config: TrainConfig, step_config: StepConfig) -> Model:
    """The model that is trained and saved: the layers that learn are random no longer, nor is the
    classifier where the loss trains one.
    """
    learning = {*step_config.trainable.layers}
    if not step_config.loss.classifies:
        learning.discard(model.backbone.classifier)
    fresh = tuple(layer for layer in model.config.fresh_layers if layer not in learning)
    return model.replace(config=model.config._replace(fresh_layers=fresh), dtype=config.dtype())


def _scorer(
    held_out: grain.MapDataset | None,
) -> Callable[[Model, int, MetricsLog], float | None]:
    """Returns what scores a model on the held-out data and logs it; nothing for no data."""

    def score(model: Model, number: int, log: MetricsLog) -> float | None:
        if held_out is None:
            return None
        batches = prefetch(held_out, 0, len(held_out))
        return log.held_out(number, [_parallel_score()(model, split(batch)) for batch in batches])

    return score


def _metrics_log(
    config: TrainConfig,
    optimiser_config: OptimiserConfig,
    run_dir: pathlib.Path,
    first: int,
    total_examples: int,
) -> MetricsLog:
    return MetricsLog(
        run_dir,
        first=first,
        steps=optimiser_config.steps,
        steps_per_epoch=config.steps_per_epoch(total_examples),
        batch_size=config.batch_size,
        every=config.log_every,
        learning_rate=learning_rate_at(optimiser_config),
    )


def _shown(model: Model, batch: TrainingBatch, config: TrainConfig, number: int) -> dict[str, Any]:
    """The views that the network sees of a batch's first examples; none of kept activations."""
    if KEPT in batch:
        return {}
    some = {kind: {n: x[:SHOWN] for n, x in one.items()} for kind, one in batch.items()}
    views = _views(model.replace(params={}), some, config.seed, jnp.int32(number - 1), config.hand)
    return {kind: np.asarray(v) for kind, v in zip(sorted(some), views, strict=True)}


_views = jax.jit(random_views, static_argnames=("seed", "hand"))


def _agreed(stopped: list[int], now: bool) -> bool:
    """Returns whether to stop, equally on all processes; several ask one another `now` only."""
    if jax.process_count() == 1:
        return bool(stopped)
    return now and bool(np.any(multihost_utils.process_allgather(np.array(len(stopped)))))


@contextlib.contextmanager
def _others_there() -> Iterator[None]:
    """Explains what the runtime raises when another process of the run is gone."""
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


_norm = jax.jit(optax.tree.norm)  # one function, not one per layer


def _check_finite(state: TrainState) -> None:
    """Refuses a state that training could not go on from."""
    if not np.isfinite(_norm(state.model.params)):
        raise FloatingPointError(diverged("a parameter is not finite", int(state.step)))


def _slow(watchdog: Watchdog | None, what: str) -> contextlib.AbstractContextManager[None]:
    return watchdog.slow(what) if watchdog else contextlib.nullcontext()


@contextlib.contextmanager
def _stop_signals(watchdog: Watchdog | None) -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of dying of them."""
    received: list[int] = []
    before = {
        s: signal.signal(s, lambda number, _: received.append(number))
        for s in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        with watchdog.watches() if watchdog else contextlib.nullcontext():
            yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def held_out_accuracy(run_dir: str | os.PathLike[str]) -> float | None:
    """Returns a run's accuracy on held-out data after its last step, or None where none was taken then."""
    lines = read_metrics(run_dir)
    taken = [x for x in lines if checkpoints.SCORE in x]
    # A run that goes on without held-out data has the score of an earlier step, which is not its own.
    if not taken or taken[-1]["step"] < max(x["step"] for x in lines):
        return None
    accuracy: float = taken[-1][checkpoints.SCORE]
    return accuracy
