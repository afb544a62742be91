"""A run's optimiser_config: the paper's by default, impossible ones refused, epochs turned into steps."""

import jax.numpy as jnp
import pytest

from dsf_jax.models.model import ModelConfig
from dsf_jax.training.config import TrainConfig

FRESH = ModelConfig("caffe", ("ant",), 227, ("fc8",))


def test_defaults_are_the_papers_and_caffes():
    config = TrainConfig()
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.001, 0.9, 5e-4)
    assert (config.schedule, config.decay_factor, config.dropout_rate) == ("step", 0.1, 0.5)
    assert (config.fresh_multiplier, config.bias_multiplier) == (10.0, 2.0)
    assert (config.train_layers, config.compute, config.accumulate) == ("all", "float32", 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be at least 1; raise it"),
        ({"accumulate": 0}, "accumulate=0 must be at least 1"),
        ({"keep": 0}, "keep=0 must be at least 1"),
        ({"log_every": -3}, "log_every=-3 must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0 and finite"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be above 0 and finite"),
        ({"bias_multiplier": float("inf")}, "bias_multiplier=inf must be above 0 and finite"),
        ({"decay_every": 0.0}, "decay_every=0.0 must be above 0 and finite"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 must be finite and not below 0"),
        ({"steps": -1}, "steps=-1 must be finite and not below 0"),
        ({"warmup": -0.5}, "warmup=-0.5 must be finite and not below 0"),
        ({"decay_factor": 0.0}, r"decay_factor=0.0 must lie in \(0, 1\]"),
        ({"decay_factor": 1.5}, r"decay_factor=1.5 must lie in \(0, 1\]"),
        ({"seed": -1}, "seed=-1 must lie between 0 and 2147483647"),
        ({"seed": 2**31}, "seed=2147483648 must lie between 0 and 2147483647"),
        ({"dropout_rate": 1.0}, r"dropout_rate=1.0 and momentum=0.9 must lie in \[0, 1\)"),
        ({"momentum": 1.0}, r"dropout_rate=0.5 and momentum=1.0 must lie in \[0, 1\)"),
        ({"loss": "hinge"}, "loss='hinge' is unknown; choose one of softmax"),
        ({"examples_per_class": -1}, "examples_per_class=-1 must be finite and not below 0"),
        (
            {"loss": "contrastive"},
            "loss='contrastive' compares .*examples_per_class=0 promises none",
        ),
        (
            {"loss": "cosine+contrastive", "examples_per_class": 2, "accumulate": 2},
            "compares all examples of a batch, which accumulate=2 cuts into parts",
        ),
        ({"cached_views": 2}, "cached_views=2 needs frozen layers, not train_layers='all'"),
        ({"cached_views": -1, "train_layers": "fc"}, "cached_views=-1 needs"),
        ({"compute": "float16"}, "compute='float16' is unknown; choose one of float32, bfloat16"),
    ],
)
def test_impossible_configurations_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**change)


def test_pairs_are_of_one_class_whatever_their_domains():
    config = TrainConfig(loss="contrastive", examples_per_class=1)
    config.check_pairs_of(domains=2)
    with pytest.raises(ValueError, match="examples_per_class=1 promises none; take 2 or more"):
        config.check_pairs_of(domains=1)
    TrainConfig().check_pairs_of(domains=1)


def test_the_edges_of_what_is_possible():
    TrainConfig(decay_factor=1.0, dropout_rate=0.0, momentum=0.0, weight_decay=0.0, seed=2**31 - 1)
    TrainConfig(cached_views=1, train_layers="last")


@pytest.mark.parametrize(
    ("examples", "batch_size", "per_epoch"), [(100, 10, 10), (101, 10, 11), (3, 10, 1)]
)
def test_epochs_are_counted_in_whole_steps_and_steps_go_before_them(
    examples, batch_size, per_epoch
):
    config = TrainConfig(epochs=4, batch_size=batch_size)
    assert config.steps_per_epoch(examples) == per_epoch
    assert config.total_steps(examples) == 4 * per_epoch
    stepped = TrainConfig(epochs=4, steps=7, batch_size=batch_size)
    assert stepped.total_steps(examples) == 7


@pytest.mark.parametrize(
    ("decay_every", "warmup", "in_steps"),
    [(8.0, 0.0, (80, 0)), (0.25, 0.25, (2, 3)), (0.01, 0.01, (1, 1)), (1.5, 1.0, (15, 10))],
)
def test_epochs_of_the_schedule_become_steps(decay_every, warmup, in_steps):
    """10 steps an epoch; a drop comes after one step at least, a warm-up is never cut."""
    config = TrainConfig(epochs=2, batch_size=10, decay_every=decay_every, warmup=warmup)
    optimiser_config = config.optimiser_config(FRESH, 100)
    assert (optimiser_config.decay_every, optimiser_config.warmup) == in_steps
    assert optimiser_config.steps == 20 and optimiser_config.fresh_layers == ("fc8",)


def test_every_setting_reaches_the_optimiser_under_its_own_name():
    config = TrainConfig(
        optimiser="adamw", learning_rate=1.0, momentum=0.2, weight_decay=3.0, fresh_multiplier=4.0, bias_multiplier=5.0,
        schedule="cosine", decay_factor=0.6,
    )  # fmt: skip
    optimiser_config = config.optimiser_config(FRESH._replace(fresh_layers=()), 100)._asdict()
    for name in optimiser_config.keys() - {"fresh_layers", "decay_every", "warmup", "steps"}:
        assert optimiser_config[name] == getattr(config, name), name


def test_what_past_steps_depend_on_may_not_change():
    always = {"save_every", "log_every", "keep"}
    for schedule in ("constant", "step"):
        assert set(TrainConfig(schedule=schedule).may_change()) == always | {"epochs", "steps"}
    assert set(TrainConfig(schedule="cosine").may_change()) == always, (
        "its rates know the run's end"
    )


def test_compute_names_a_type():
    assert TrainConfig().dtype() == jnp.float32
    assert TrainConfig(compute="bfloat16").dtype() == jnp.bfloat16
