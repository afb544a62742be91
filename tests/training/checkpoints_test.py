"""What is saved comes back bit for bit, or not at all: never other numbers, never an old file lost."""

import dataclasses
import errno
import gc
import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dsf_jax.models.alexnet import AlexNet, init_params
from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import ModelCard, load_model, save_model, with_classes
from dsf_jax.training.optimiser import sgd
from dsf_jax.training.parallel import replication
from dsf_jax.training.step import TrainState, init_state
from tests.training import tiny

NAMES = ("Äffchen 🐒", 'quote " and \\ slash', "猫")
ALEXNET_CARD = ModelCard("caffe", NAMES, 67, ("fc6", "fc8"))


@pytest.fixture
def tiny_models(monkeypatch):
    """Makes load_model build tiny networks."""
    monkeypatch.setattr(checkpoints, "ModelCard", tiny.TinyCard)


def assert_bit_equal(a, b):
    a, b = jax.device_get((a, b))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert x.tobytes() == y.tobytes()  # signs of zeros and NaNs too


def odd_params(seed=0):
    """Parameters with values that a careless round trip would change."""
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), tiny.start_params())
    params["fc8"]["bias"][:4] = (-0.0, np.nan, np.inf, 1e-42)
    return params


def state_after(steps, train_layers="all"):
    """A state whose momentum is not zero."""
    optimiser = sgd(tiny.CONFIG.optimisation(("fc8",), tiny.EXAMPLES))
    state = init_state(odd_params(), optimiser, train_layers)
    trained = {name: state.params[name] for name in state.opt_state[-1].trace}
    gradients = jax.tree.map(lambda x: jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), trained)
    _, opt_state = optimiser.update(gradients, state.opt_state, trained)
    return TrainState(jnp.int32(steps), state.params, opt_state)


def blank(state):
    return jax.tree.map(jnp.zeros_like, state)


def whole_steps(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.mark.parametrize("train_layers", ["all", "fc", "last"])
def test_a_state_comes_back_bit_for_bit(tmp_path, train_layers):
    state = state_after(7, train_layers)
    with checkpoints.manager(tmp_path / "new" / "folder") as folder:
        checkpoints.save(folder, state, tiny.TinyCard(*tiny.CARD))
    with checkpoints.manager(tmp_path / "new" / "folder") as folder:
        restored = checkpoints.restore(folder, blank(state))
    assert_bit_equal(restored, state)
    assert any(x.any() for x in jax.tree.leaves(restored.opt_state))
    assert restored.params["fc8"]["kernel"].sharding == replication()


def test_nothing_saved_restores_nothing(tmp_path):
    with checkpoints.manager(tmp_path) as folder:
        assert checkpoints.restore(folder, state_after(0)) is None


def test_the_latest_state_is_restored_and_the_latest_are_kept(tmp_path):
    first = state_after(0)
    states = [
        dataclasses.replace(
            first, step=jnp.int32(step), params=jax.tree.map(lambda x, s=step: x + s, first.params)
        )
        for step in (3, 10, 9999)
    ]
    with checkpoints.manager(tmp_path, keep=2) as folder:
        for state in states:
            checkpoints.save(folder, state, tiny.CARD)
    assert whole_steps(tmp_path) == [10, 9999]
    with checkpoints.manager(tmp_path, keep=1) as folder:
        assert_bit_equal(checkpoints.restore(folder, blank(first)), states[-1])
        checkpoints.save(folder, first.replace(step=jnp.int32(10_000)), tiny.CARD)
    assert whole_steps(tmp_path) == [10_000]


def save_scored(folder, scores, *, keep):
    """Saves a state a score, all the state's values being its step: {step: score or None}."""
    first = state_after(0)
    with checkpoints.manager(folder, keep=keep) as saved:
        for step, score in scores.items():
            params = jax.tree.map(lambda x, s=step: jnp.full_like(x, s), first.params)
            state = first.replace(step=jnp.int32(step), params=params)
            checkpoints.save(saved, state, tiny.TinyCard(*tiny.CARD), score=score)


@pytest.mark.parametrize(
    ("scores", "keep", "kept"),
    [
        ({5: 0.2, 10: 0.7, 15: 0.5, 20: 0.6}, 1, [10, 20]),
        ({5: 0.2, 10: 0.7, 15: 0.5, 20: 0.6}, 2, [10, 15, 20]),
        ({5: 0.2, 10: 0.3, 15: 0.4}, 1, [15]),
        ({5: 0.4, 10: None, 15: None}, 1, [5, 15]),  # stopped by signals, without a score
        ({5: None, 10: None, 15: None}, 2, [10, 15]),
        ({5: 0.0, 10: None}, 1, [5, 10]),
    ],
)
def test_the_best_stays_beside_the_latest(tmp_path, scores, keep, kept):
    save_scored(tmp_path, scores, keep=keep)
    assert whole_steps(tmp_path) == kept


def test_the_best_outlives_the_process_that_saved_it(tmp_path, tiny_models):
    save_scored(tmp_path, {5: 0.9, 10: 0.1}, keep=1)
    save_scored(tmp_path, {15: 0.3}, keep=1)
    assert whole_steps(tmp_path) == [5, 15]
    save_scored(tmp_path, {20: 0.95}, keep=1)
    assert whole_steps(tmp_path) == [20]


def test_a_checkpoint_is_chosen_by_its_step_or_its_score(tmp_path, tiny_models):
    run = tmp_path / "run"
    save_scored(run / checkpoints.FOLDER, {5: 0.5, 10: 0.7, 15: 0.7, 20: 0.6, 25: None}, keep=9)
    expected = {"": 25, ":best": 15, ":5": 5, ":10": 10, ":25": 25}  # of two equals the later one
    for folder in (run, run / checkpoints.FOLDER):
        for which, step in expected.items():
            card, params = load_model(f"{folder}{which}")
            assert card == tiny.CARD
            assert {float(x.min()) for x in jax.tree.leaves(params)} == {step}, which


def test_a_folder_whose_name_has_a_colon_is_taken_as_it_is(tmp_path, tiny_models):
    folder = tmp_path / "run:5"
    save_scored(folder, {5: None, 10: None}, keep=9)
    for source, step in ((folder, 10), (f"{folder}:5", 5)):
        assert float(load_model(source)[1]["fc8"]["bias"][0]) == step


@pytest.mark.parametrize(
    ("which", "message"),
    [
        (
            "7",
            r"no checkpoint with step 7, only those of the steps 5, 10; name one of them or none",
        ),
        ("best", r"no checkpoint with a score, only those of the steps 5, 10; name one of them"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_named(tmp_path, tiny_models, which, message):
    save_scored(tmp_path, {5: None, 10: None}, keep=9)
    with pytest.raises(FileNotFoundError, match=message) as caught:
        load_model(f"{tmp_path}:{which}")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("which", [":best", ":5", ":latest", ":-1"])
def test_a_choice_in_a_folder_that_is_not_there_is_named(tmp_path, which):
    with pytest.raises(FileNotFoundError, match=r"nowhere.* does not exist; make one with"):
        load_model(f"{tmp_path / 'nowhere'}{which}")


def test_a_step_that_is_there_is_left_as_it_is(tmp_path):
    state = state_after(5)
    other = state.replace(params=jax.tree.map(lambda x: x + 1, state.params))
    with checkpoints.manager(tmp_path) as folder:
        checkpoints.save(folder, state, tiny.CARD)
        checkpoints.save(folder, other, tiny.CARD)
        assert_bit_equal(checkpoints.restore(folder, blank(state)), state)


def test_a_step_without_its_final_name_does_not_count(tmp_path, tiny_models):
    save_model(tmp_path, odd_params(), tiny.CARD)
    half = tmp_path / "8.orbax-checkpoint-tmp-3"
    shutil.copytree(tmp_path / "0", half)
    assert_bit_equal(load_model(tmp_path)[1], odd_params())
    assert half.exists(), "reading removes nothing"
    later = state_after(8)
    with checkpoints.manager(tmp_path) as folder:
        assert folder.latest_step() == 0
        checkpoints.save(folder, later, tiny.CARD)
    assert not half.exists()
    assert_bit_equal(load_model(tmp_path)[1], later.params)


def test_a_model_comes_back_with_its_card(tmp_path, tiny_models):
    card = tiny.TinyCard("torchvision", NAMES, tiny.SIZE, ("fc6", "fc8"))
    params = odd_params()
    params["fc8"] = jax.tree.map(lambda x: x[..., :3], params["fc8"])
    save_model(tmp_path / "run" / checkpoints.FOLDER, params, card)
    for folder in (tmp_path / "run", str(tmp_path / "run" / checkpoints.FOLDER)):
        loaded_card, loaded = load_model(folder)
        assert loaded_card == card
        assert isinstance(loaded_card.class_names, tuple)
        assert isinstance(loaded_card.fresh_layers, tuple)
        assert_bit_equal(loaded, params)


def test_a_training_states_model_is_its_latest(tmp_path, tiny_models):
    state = state_after(3)
    later = state.replace(step=jnp.int32(12), params=jax.tree.map(lambda x: -x, state.params))
    with checkpoints.manager(tmp_path) as folder:
        for each in (state, later):
            checkpoints.save(folder, each, tiny.TinyCard(*tiny.CARD))
    card, params = load_model(tmp_path)
    assert card == tiny.CARD
    assert_bit_equal(params, later.params)


def test_a_folder_can_be_read_from_anywhere(tmp_path, tiny_models, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("model", odd_params(), tiny.CARD)
    assert_bit_equal(load_model("model")[1], odd_params())
    shutil.move(tmp_path / "model", tmp_path / "moved ü")
    assert_bit_equal(load_model(tmp_path / "moved ü")[1], odd_params())


def test_a_model_is_never_overwritten(tmp_path, tiny_models):
    save_model(tmp_path, odd_params(), tiny.CARD)
    with pytest.raises(FileExistsError, match="already holds a checkpoint; choose another") as e:
        save_model(tmp_path, odd_params(1), tiny.CARD)
    assert str(tmp_path) in str(e.value)
    assert_bit_equal(load_model(tmp_path)[1], odd_params())


@pytest.mark.parametrize("inside", ["", "run", "run/checkpoints"])
def test_a_folder_without_checkpoints_is_named(tmp_path, inside):
    (tmp_path / "run" / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no checkpoint; make one with") as caught:
        load_model(tmp_path / inside)
    assert str(tmp_path / inside) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; make one with"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match="file does not exist"):
        load_model(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def noisy(test):
    """Orbax reads arrays side by side: when one has failed, its event loop closes under the others,
    whose threads and coroutines then complain."""
    for warning in ("PytestUnhandledThreadExceptionWarning", "PytestUnraisableExceptionWarning"):
        test = pytest.mark.filterwarnings(f"ignore::pytest.{warning}")(test)
    return pytest.mark.usefixtures("swept")(test)


@pytest.fixture
def swept():
    """Leaves no abandoned coroutine to the tests that follow."""
    yield
    gc.collect()


@noisy
@pytest.mark.parametrize("damage", [pathlib.Path.unlink, cut, empty])
def test_damage_to_any_file_is_one_clear_error_or_none(tmp_path, tiny_models, damage):
    """Some files are not needed to read a model: then it is read, and equal. All others: the error."""
    whole = tmp_path / "whole"
    save_model(whole, odd_params(), tiny.CARD)
    refused = []
    for number, name in enumerate(files_of(whole)):
        broken = shutil.copytree(whole, tmp_path / f"broken{number}")
        damage(broken / name)
        try:
            card, params = load_model(broken)
        except ValueError as error:
            refused.append(name)
            assert str(broken) in str(error) and "\n" not in str(error), name
            assert str(error).endswith("or make it again")
        else:
            assert card == tiny.CARD, name
            assert_bit_equal(params, odd_params())
    largest = max(files_of(whole), key=lambda name: (whole / name).stat().st_size)
    assert largest in refused, "the file that holds the values"
    assert pathlib.Path("0/model/metadata") in refused


def flip(path, at):
    """Changes one bit."""
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 4
    path.write_bytes(content)


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


@noisy
@pytest.mark.parametrize("at", [0.3, 0.5, 0.7])
def test_a_changed_bit_among_the_values_is_refused(tmp_path, tiny_models, at):
    """Orbax does not see it: only what was saved beside the values tells."""
    save_model(tmp_path / "model", odd_params(), tiny.CARD)
    flip(largest_file(tmp_path / "model"), at)
    with pytest.raises(ValueError, match=r"cannot be read \(.*\); remove it"):
        load_model(tmp_path / "model")


def test_values_of_another_model_are_refused(tmp_path, tiny_models):
    state = state_after(3)
    with checkpoints.manager(tmp_path / "state") as folder:
        checkpoints.save(folder, state, tiny.CARD)
    save_model(tmp_path / "model", odd_params(), tiny.CARD)
    for name, step in (("state", "3"), ("model", "0")):
        path = tmp_path / name / step / "model" / "metadata"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 16}))
    with pytest.raises(ValueError, match=r"fingerprint [0-9a-f]{16}, those that were saved 0000"):
        load_model(tmp_path / "model")
    with (
        pytest.raises(ValueError, match=r"those that were saved 0000"),
        checkpoints.manager(tmp_path / "state") as folder,
    ):
        checkpoints.restore(folder, blank(state))


def change_card(folder, **changes):
    path = folder / "0" / "model" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@noisy
@pytest.mark.parametrize("damage", [pathlib.Path.unlink, cut, empty])
def test_a_damaged_state_is_refused_and_an_earlier_one_goes_on(tmp_path, damage):
    early, late = state_after(3), state_after(9)
    with checkpoints.manager(tmp_path) as folder:
        for state in (early, late):
            checkpoints.save(folder, state, tiny.CARD)
    files = [path for path in (tmp_path / "9").rglob("*") if path.is_file()]
    damage(max(files, key=lambda path: path.stat().st_size))
    with (
        pytest.raises(ValueError, match=r"cannot be read .*; remove it to go on") as caught,
        checkpoints.manager(tmp_path) as folder,
    ):
        checkpoints.restore(folder, blank(late))
    assert str(tmp_path / "9") in str(caught.value) and "\n" not in str(caught.value)
    shutil.rmtree(tmp_path / "9")
    with checkpoints.manager(tmp_path) as folder:
        assert_bit_equal(checkpoints.restore(folder, blank(late)), early)


@noisy
def test_an_empty_step_is_refused(tmp_path, tiny_models):
    (tmp_path / "4").mkdir()
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_does_not_fit_on_the_disk_leaves_the_folder_as_it_was(
    tmp_path, tiny_models, monkeypatch
):
    state, card = state_after(3), tiny.TinyCard(*tiny.CARD)
    with checkpoints.manager(tmp_path / "run") as folder:
        checkpoints.save(folder, state, card)
    before = files_of(tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match="free some and run the command again") as caught:
        save_model(tmp_path / "model", state.params, card)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "model")
    with (
        pytest.raises(OSError, match="free some and run the command again"),
        checkpoints.manager(tmp_path / "run") as folder,
    ):
        checkpoints.save(folder, state.replace(step=jnp.int32(4)), card)
    assert files_of(tmp_path) == before and not (tmp_path / "model").exists()
    assert_bit_equal(load_model(tmp_path / "run")[1], state.params)


@noisy
def test_a_disk_that_fills_up_half_way_keeps_the_last_whole_checkpoint(
    small_disk, tiny_models, monkeypatch
):
    """The check has passed, and then another program takes the space."""
    disk = small_disk(1)
    state, card = state_after(3), tiny.TinyCard(*tiny.CARD)
    with checkpoints.manager(disk / "run") as folder:
        checkpoints.save(folder, state, card)
    monkeypatch.setattr(checkpoints, "check_space", lambda *_: None)
    (disk / "others").write_bytes(b"x" * (shutil.disk_usage(disk).free - 8192))
    with pytest.raises(OSError) as caught, checkpoints.manager(disk / "run") as folder:
        checkpoints.save(folder, state.replace(step=jnp.int32(4)), card)
    assert caught.value.errno == errno.ENOSPC
    assert whole_steps(disk / "run") == [3]
    assert_bit_equal(load_model(disk / "run")[1], state.params)


@noisy
@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": list(tiny.CLASSES[:4])},
        {"class_names": [*tiny.CLASSES, "fox"]},
        {"size": tiny.SIZE + 8},
        {"size": "large"},
        {"class_names": None},
    ],
)
def test_a_card_that_does_not_fit_its_parameters_is_refused(tmp_path, tiny_models, changes):
    save_model(tmp_path, odd_params(), tiny.CARD)
    change_card(tmp_path, **changes)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@noisy
def test_an_unknown_variant_is_refused(tmp_path):
    save_model(tmp_path, odd_params(), tiny.CARD)
    change_card(tmp_path, variant="resnet")
    with pytest.raises(ValueError, match="variant='resnet' is unknown") as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


@noisy
def test_a_lost_item_is_refused(tmp_path, tiny_models):
    for item in ("params", "model"):
        folder = tmp_path / item
        save_model(folder, odd_params(), tiny.CARD)
        shutil.rmtree(folder / "0" / item)
        with pytest.raises(ValueError, match="cannot be read") as caught:
            load_model(folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_other_classes_give_a_new_last_layer_and_keep_the_rest():
    card = tiny.TinyCard("caffe", tiny.CLASSES, tiny.SIZE, ("fc6",))
    params = odd_params()
    fitted_card, fitted = with_classes(card, params, NAMES, seed=1)
    assert fitted_card == card._replace(class_names=NAMES, fresh_layers=("fc6", "fc8"))
    assert fitted["fc8"]["kernel"].shape == (16, 3) and fitted["fc8"]["bias"].shape == (3,)
    assert float(jnp.std(fitted["fc8"]["kernel"])) > 0
    for layer in ("conv1", "fc7"):
        assert fitted[layer] is params[layer]
    assert fitted.keys() == params.keys()
    assert params["fc8"]["kernel"].shape == (16, 5), "the model itself is not changed"
    again, other = (with_classes(card, params, NAMES, seed=seed)[1]["fc8"] for seed in (1, 2))
    assert_bit_equal(again, fitted["fc8"])
    assert not np.array_equal(other["kernel"], again["kernel"])


def test_the_same_names_in_another_order_are_other_classes():
    card = tiny.TinyCard("caffe", tiny.CLASSES, tiny.SIZE, ("fc8", "fc6"))
    fitted_card, fitted = with_classes(card, odd_params(), tiny.CLASSES[::-1], seed=1)
    assert fitted_card.class_names == tiny.CLASSES[::-1]
    assert fitted_card.fresh_layers == ("fc8", "fc6"), "each is named once"
    assert not np.array_equal(fitted["fc8"]["kernel"], odd_params()["fc8"]["kernel"])


def test_the_same_classes_change_nothing():
    card, params = tiny.TinyCard("caffe", tiny.CLASSES, tiny.SIZE, ()), odd_params()
    same_card, same = with_classes(card, params, tiny.CLASSES, seed=1)
    assert same_card is card and same is params


def test_alexnet_comes_back_with_the_network_of_its_card(tmp_path):
    shapes = jax.eval_shape(lambda: init_params(AlexNet(3), 0, size=67))
    params = jax.tree.map(lambda x: np.random.default_rng(0).random(x.shape, np.float32), shapes)
    save_model(tmp_path, params, ALEXNET_CARD)
    card, loaded = load_model(tmp_path)
    assert card == ALEXNET_CARD
    assert card.network(dropout_rate=0.0) == AlexNet(3, "caffe", dropout_rate=0.0)
    assert_bit_equal(loaded, params)
