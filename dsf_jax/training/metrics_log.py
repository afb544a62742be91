"""Watching a run: progress bar, JSON lines, TensorBoard scalars and pictures."""

import contextlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tqdm import tqdm

from dsf_jax.data.files import write_atomic
from dsf_jax.training.parallel import is_primary

METRICS_FILE = "metrics.jsonl"
SHOWN = 8  # examples of each kind in a TensorBoard picture


class _Board:
    """TensorBoard's events, written by the caller itself: the thread that tensorboardX's
    SummaryWriter has for it dies when the disk is full, and training would wait for it for ever.
    """

    def __init__(self, folder: pathlib.Path, first: int) -> None:
        """Opens a new file; what others hold of step `first` and later no longer counts."""
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        self._write(first, session_log=SessionLog(status=SessionLog.START))
        self.close = self._events.close

    def scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Writes numbers."""
        for name, value in values.items():
            self._write(step, summary=summary.scalar(f"{group}/{name}", value))
        self._events.flush()

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        """Writes a picture, [h, w] or [h, w, 3] uint8."""
        formats = "HW" if pixels.ndim == 2 else "HWC"
        self._write(step, summary=summary.image(name, pixels, dataformats=formats))

    def _write(self, step: int, **content: Any) -> None:
        self._events.write_event(Event(step=step, wall_time=time.time(), **content))


class MetricsLog:
    """Takes a run's metrics. Every process checks them; the primary one writes them."""

    def __init__(
        self,
        run_dir: pathlib.Path,
        *,
        first: int,
        steps: int,
        steps_per_epoch: int,
        batch_size: int,
        every: int,
        learning_rate: optax.Schedule,
    ) -> None:
        """Opens the files; lines after step `first`, which a kill left behind, are dropped."""
        self._every, self._steps, self._steps_per_epoch = every, steps, steps_per_epoch
        self._batch_size, self._learning_rate = batch_size, learning_rate
        self._pending: list[tuple[int, Any]] = []
        self._since = time.monotonic()
        path = pathlib.Path(os.devnull)
        self._board: _Board | None = None
        if is_primary():
            path = run_dir / METRICS_FILE
            kept = [line for line in read_metrics(run_dir) if line["step"] <= first]
            write_atomic(path, "".join(json.dumps(line) + "\n" for line in kept))
            self._board = _Board(run_dir / "tensorboard", first + 1)
        self._file = path.open("a")
        self._bar = tqdm(
            total=steps * batch_size,
            initial=first * batch_size,
            unit="image",
            desc="training",
            disable=not is_primary(),
        )

    def __enter__(self) -> "MetricsLog":
        """Returns itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Writes what is pending, unless something failed, and closes the files."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._bar.close)
            closing.callback(self._file.close)
            if self._board:
                closing.callback(self._board.close)
            if error[0] is None:
                self.write()

    def add(self, step: int, metrics: Any) -> None:
        """Takes one step's metrics; they stay on the device until the next line is due."""
        self._pending.append((step, metrics))
        self._bar.update(self._batch_size)
        if self.due(step):
            self.write()

    def due(self, step: int) -> bool:
        """Tells whether a line is written after this step."""
        return step % self._every == 0 or step == self._steps

    def write(self) -> None:
        """Writes the mean over the pending steps as one line.

        Raises:
          FloatingPointError: when a step's loss is not finite; it names the first such step.
        """
        if not self._pending:
            return
        pending = jax.device_get(self._pending)
        for step, metrics in pending:
            if not np.isfinite(metrics["loss"][0]):
                raise FloatingPointError(diverged(f"the loss is {metrics['loss'][0]}", step))
        step = pending[-1][0]
        means = _means([metrics for _, metrics in pending])
        images = len(pending) * self._batch_size
        rate = images / (time.monotonic() - self._since)
        self._pending, self._since = [], time.monotonic()
        extra = {
            "learning_rate": float(self._learning_rate(step - 1)),
            "images_per_second": round(rate, 2),
        }
        self._line(step, means | extra)
        if self._board:
            self._board.scalars(step, "train", means | extra)
        self._bar.set_postfix(
            step=step,
            epoch=f"{step / self._steps_per_epoch:.1f}",
            loss=f"{means['loss']:.3f}",
            accuracy=f"{means['accuracy']:.3f}",
        )

    def held_out(self, step: int, metrics: list[Any]) -> float:
        """Writes a line of held-out loss and accuracy, and returns the accuracy."""
        means = _means(metrics)
        self._line(step, {f"held_out_{name}": value for name, value in means.items()})
        if self._board:
            self._board.scalars(step, "held_out", means)
        self._since = time.monotonic()  # the time that it took is not training's
        return means["accuracy"]

    def pictures(self, step: int, views_of: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Shows views, [b, h, w] or [b, h, w, 3] uint8 by kind, side by side in TensorBoard."""
        if not self._board:
            return
        for kind, views in views_of().items():
            self._board.picture(step, f"views/{kind}", np.concatenate(list(views), axis=1))

    def _line(self, step: int, values: Mapping[str, float]) -> None:
        line = {"step": step, "epoch": round(step / self._steps_per_epoch, 4), **values}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def _means(metrics: list[Any]) -> dict[str, float]:
    """{name: (sum, count)} of several steps or batches -> {name: mean}."""
    sums = jax.device_get(metrics)
    return {
        name: float(np.sum([m[name][0] for m in sums]) / np.sum([m[name][1] for m in sums]))
        for name in sums[0]
    }


def diverged(what: str, step: int) -> str:
    """Words what to do about a run that is no longer finite."""
    return (
        f"{what} at step {step}; start again in another run_dir with a lower learning_rate "
        "(checkpoints before that step are kept)"
    )


def read_metrics(run_dir: str | os.PathLike[str]) -> list[dict[str, float]]:
    """Reads a run's metrics, one dict per line; an incomplete last line, left by a kill, is dropped.

    Args:
      run_dir: folder of the run.

    Returns:
      Lines of training ("loss", "accuracy", ...) and of held-out data ("held_out_loss", ...), with
      "step" and "epoch", in the order that they were written in.

    Raises:
      ValueError: when a line is damaged.
    """
    path = pathlib.Path(run_dir) / METRICS_FILE
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); choose another folder, or remove it"
        ) from error
