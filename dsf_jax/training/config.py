"""The configuration of a training run, each default once."""

import dataclasses
import math
from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np

from dsf_jax.images.hand import Hand
from dsf_jax.models.model import ModelConfig
from dsf_jax.training.losses import loss_named
from dsf_jax.training.optimiser import Optimiser, OptimiserConfig, Schedule

Compute = Literal["float32", "bfloat16"]
MAY_CHANGE = ("epochs", "steps", "save_every", "log_every", "keep")  # when a run goes on


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run: the paper's where it gives them (learning rate; momentum,
    decay, dropout, schedule and rates of biases "as AlexNet"). What it leaves open is in
    BUILD_NOTES.md, "The schedule".

    Attributes:
      epochs: how many times as many examples are shown as the mixture holds.
      steps: number of steps; 0 counts by epochs.
      batch_size: examples per step, over all devices of all processes.
      accumulate: parts that a device's part of a batch passes the network in, at least, one after the
        other: memory falls by this factor, and the step stays the same to rounding.
      optimiser: sgd, Caffe's (the paper's); or adamw, whose steps do not depend on how large a layer's
        gradients are: EfficientNet-Lite learns faster by it, at lower rates.
      learning_rate: rate of the kernels of layers that start from ported weights.
      schedule: constant; step (times decay_factor after every decay_every epochs); cosine (to 0 at
        the run's end).
      decay_every: epochs between the drops of the step schedule.
      decay_factor: factor of each drop.
      warmup: epochs over which the rate first rises.
      momentum: momentum of SGD; for adamw, how much of the mean gradient is kept at each step.
      weight_decay: decay of kernels; biases are not decayed. For adamw, apart from the gradient.
      fresh_multiplier: layers that start from random values learn this many times faster.
      bias_multiplier: biases learn this many times faster than their kernel.
      dropout_rate: probability in [0, 1) of dropping a value.
      train_layers: layers that learn: all; of AlexNet fc (convolutions frozen) or last (the classifier
        only); of EfficientNet-Lite late (the first five of seven stages frozen) or head (the
        classifier only); of vision transformers norms (layer norms and the classifier) or head.
      loss: what is minimised: softmax (cross-entropy on the class label, the paper's); or, of networks
        with an embedding, cosine (softmax of scaled cosines to one vector per class), cosface (the
        same, the right class's cosine lessened by a margin of .35), contrastive (supervised
        contrastive over the pairs of a batch, whatever their domain; trains no classifier),
        cosine+contrastive (their sum).
      examples_per_class: examples of a class from each domain that a batch holds, the classes being
        drawn anew for each batch; 0 takes examples as they come, whatever their class. Losses that
        compare pairs need at least 1, or 2 where there is one domain.
      cached_views: 0 makes a new random view of each example at each step; n > 0, with frozen
        layers only, makes n random views of each example once and keeps what the frozen layers give.
      compute: type that the network computes in; parameters are float32 always.
      pen_spread: pixels by which the pen that draws points is at most thinner or wider, anew in each
        view; of no meaning for binary maps.
      bend: fraction of the canvas that points move by, smoothly, as a hand's lines do; anew in each
        view.
      pressure_spread: fraction by which strokes are at most fainter or darker, anew in each view, so that
        faint drawings are known too; of no meaning for binary maps.
      strokes_left_out: probability in [0, 1) of a stroke to be left out, anew in each view, where a
        drawing's record has strokes.
      seed: seed of the order, the views, dropout and the fresh layers.
      save_every: steps between checkpoints; held-out data is scored at each of them.
      keep: latest checkpoints that stay; the best on held-out data stays beside them.
      log_every: steps between lines of metrics.
    """

    epochs: int = 20
    steps: int = 0
    batch_size: int = 128
    accumulate: int = 1
    optimiser: Optimiser = "sgd"
    learning_rate: float = 0.001
    schedule: Schedule = "step"
    decay_every: float = 8.0
    decay_factor: float = 0.1
    warmup: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    fresh_multiplier: float = 10.0
    bias_multiplier: float = 2.0
    dropout_rate: float = 0.5
    train_layers: str = "all"
    loss: str = "softmax"
    examples_per_class: int = 0
    cached_views: int = 0
    compute: Compute = "float32"
    pen_spread: float = 0.5
    bend: float = 0.0
    pressure_spread: float = 0.4
    strokes_left_out: float = 0.0
    seed: int = 0
    save_every: int = 500
    keep: int = 2
    log_every: int = 10

    def __post_init__(self) -> None:
        """Refuses values that no run can have."""
        for name in ("epochs", "batch_size", "accumulate", "save_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1; raise it")
        for name in ("learning_rate", "fresh_multiplier", "bias_multiplier", "decay_every"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be above 0 and finite; change it"
                )
        for name in ("steps", "warmup", "weight_decay", "examples_per_class"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be finite and not below 0; change it"
                )
        if not 0 < self.decay_factor <= 1:
            raise ValueError(f"decay_factor={self.decay_factor} must lie in (0, 1]; change it")
        if not 0 <= self.dropout_rate < 1 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"dropout_rate={self.dropout_rate} and momentum={self.momentum} must lie in [0, 1); "
                "change them"
            )
        if not 0 <= self.strokes_left_out < 1 or (self.strokes_left_out and self.cached_views):
            raise ValueError(
                f"strokes_left_out={self.strokes_left_out} must lie in [0, 1), and be 0 with cached_views="
                f"{self.cached_views}; change it"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed} must lie between 0 and {2**31 - 1}; change it")
        if self.compute not in get_args(Compute):
            raise ValueError(
                f"compute={self.compute!r} is unknown; choose one of {', '.join(get_args(Compute))}"
            )
        self._check_pairs()
        if self.cached_views < 0 or (self.cached_views and self.train_layers == "all"):
            raise ValueError(
                f"cached_views={self.cached_views} needs frozen layers, not "
                f"train_layers={self.train_layers!r}; take one that freezes some, such as fc or head, "
                "or cached_views=0"
            )

    def _check_pairs(self) -> None:
        """Refuses batches by chance, or in parts, for a loss that compares pairs."""
        if not loss_named(self.loss).pairs:
            return
        self.check_pairs_of(domains=2)
        if self.accumulate > 1:
            raise ValueError(
                f"loss={self.loss!r} compares all examples of a batch, which accumulate="
                f"{self.accumulate} cuts into parts; take accumulate=1"
            )

    def check_pairs_of(self, domains: int) -> None:
        """Raises ValueError where the loss compares pairs and batches of so many domains have none."""
        if loss_named(self.loss).pairs and self.examples_per_class * domains < 2:
            raise ValueError(
                f"loss={self.loss!r} compares examples of one class within a batch, and "
                f"examples_per_class={self.examples_per_class} promises none; take 2 or more"
            )

    @property
    def hand(self) -> Hand:
        """Returns what differs from view to view beside angle and flip."""
        return Hand(self.pen_spread, self.bend, self.pressure_spread)

    def may_change(self) -> tuple[str, ...]:
        """Returns the names of the fields that a run may go on with other values of: none that past
        steps depend on.
        """
        return tuple(
            name
            for name in MAY_CHANGE
            if self.schedule != "cosine" or name not in ("epochs", "steps")
        )

    def total_steps(self, examples: int) -> int:
        """Returns the steps of the run over a mixture of this number of examples."""
        return self.steps or self.epochs * self.steps_per_epoch(examples)

    def steps_per_epoch(self, examples: int) -> int:
        """Returns the steps that show as many examples as the mixture holds."""
        return -(-examples // self.batch_size)

    def optimiser_config(self, model: ModelConfig, examples: int) -> OptimiserConfig:
        """Returns the optimiser's configuration, with epochs converted to steps."""
        epoch = self.steps_per_epoch(examples)
        return OptimiserConfig(
            self.optimiser,
            self.learning_rate,
            self.momentum,
            self.weight_decay,
            self.fresh_multiplier,
            self.bias_multiplier,
            model.fresh_layers,
            self.schedule,
            max(1, round(self.decay_every * epoch)),
            self.decay_factor,
            math.ceil(self.warmup * epoch),
            self.total_steps(examples),
        )

    def dtype(self) -> jnp.dtype:
        """Returns the type of `compute`."""
        return jnp.dtype(self.compute)
