"""What is saved comes back bit for bit, or not at all: never other numbers, never an old file lost."""

import errno
import gc
import hashlib
import json
import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dsf_jax.models.model import Model, ModelConfig, init_model
from dsf_jax.training import checkpoints
from dsf_jax.training.checkpoints import load_model, save_model
from dsf_jax.training.losses import softmax
from dsf_jax.training.optimiser import make_optimiser
from dsf_jax.training.parallel import replicate, replication
from dsf_jax.training.step import StepConfig, init_state
from tests.backbones import TINY
from tests.training import tiny

pytestmark = pytest.mark.slow

NAMES = ("Äffchen 🐒", 'quote " and \\ slash', "猫")
ALEXNET = ModelConfig("caffe", NAMES, 67, ("fc6", "fc8"))


def assert_bit_equal(a, b):
    a, b = jax.device_get((a, b))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert x.tobytes() == y.tobytes()  # signs of zeros and NaNs too


def odd_params(seed=0):
    """Parameters with values that a careless round trip would change."""
    rng = np.random.default_rng(seed)
    start = tiny.start_model().params
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape, np.float32), start)
    params["fc8"]["bias"][:4] = (-0.0, np.nan, np.inf, 1e-42)
    return params


def odd_model(seed=0, **changes):
    return Model(odd_params(seed), tiny.CONFIG._replace(**changes))


def state_after(steps, train_layers="all"):
    """A state whose momentum is not zero."""
    optimiser = make_optimiser(tiny.TRAINING.optimiser_config(tiny.CONFIG, tiny.EXAMPLES))
    learning = TINY.learning(train_layers)
    state = init_state(odd_model(), StepConfig(optimiser, softmax, learning, 0.5, 0))
    trained = {name: state.model.params[name] for name in state.opt_state[-1].trace}
    gradients = jax.tree.map(lambda x: jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), trained)
    _, opt_state = optimiser.update(gradients, state.opt_state, trained)
    return replicate(state.replace(step=jnp.int32(steps), opt_state=opt_state))


def with_values(state, step, change):
    """The state at another step, each of its model's values changed."""
    model = state.model.replace(params=jax.tree.map(change, state.model.params))
    return state.replace(step=jnp.int32(step), model=model)


def blank(state):
    return jax.tree.map(jnp.zeros_like, state)


def whole_steps(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


@pytest.mark.parametrize("train_layers", ["all", "fc", "last"])
def test_a_state_comes_back_bit_for_bit(tmp_path, train_layers):
    state = state_after(7, train_layers)
    with checkpoints.manager(tmp_path / "new" / "folder") as folder:
        checkpoints.save(folder, state)
    with checkpoints.manager(tmp_path / "new" / "folder") as folder:
        restored = checkpoints.restore(folder, blank(state))
    assert_bit_equal(restored, state)
    assert any(x.any() for x in jax.tree.leaves(restored.opt_state))
    assert restored.model.params["fc8"]["kernel"].sharding == replication()


def test_saving_what_eight_devices_hold_compiles_nothing(tmp_path):
    """Orbax cut every array into eight, each by a slice that it compiled."""
    state, compiled = state_after(7), []
    assert len(state.model.params["fc8"]["kernel"].devices()) == 8

    def listen(event, seconds, **_):
        if event.startswith("/jax/core/compile"):
            compiled.append((event, seconds))

    jax.monitoring.register_event_duration_secs_listener(listen)
    with checkpoints.manager(tmp_path) as folder:
        checkpoints.save(folder, state)
    jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
    with checkpoints.manager(tmp_path) as folder:
        assert_bit_equal(checkpoints.restore(folder, blank(state)), state)


def test_nothing_saved_restores_nothing(tmp_path):
    with checkpoints.manager(tmp_path) as folder:
        assert checkpoints.restore(folder, state_after(0)) is None


def test_the_latest_state_is_restored_and_the_latest_are_kept(tmp_path):
    first = state_after(0)
    states = [with_values(first, step, lambda x, s=step: x + s) for step in (3, 10, 9999)]
    with checkpoints.manager(tmp_path, keep=2) as folder:
        for state in states:
            checkpoints.save(folder, state)
    assert whole_steps(tmp_path) == [10, 9999]
    with checkpoints.manager(tmp_path, keep=1) as folder:
        assert_bit_equal(checkpoints.restore(folder, blank(first)), states[-1])
        checkpoints.save(folder, first.replace(step=jnp.int32(10_000)))
    assert whole_steps(tmp_path) == [10_000]


def save_scored(folder, scores, *, keep):
    """Saves a state a score, all the state's values being its step: {step: score or None}."""
    first = state_after(0)
    with checkpoints.manager(folder, keep=keep) as saved:
        for step, score in scores.items():
            state = with_values(first, step, lambda x, s=step: jnp.full_like(x, s))
            checkpoints.save(saved, state, score=score)


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


def test_the_best_outlives_the_process_that_saved_it(tmp_path):
    save_scored(tmp_path, {5: 0.9, 10: 0.1}, keep=1)
    save_scored(tmp_path, {15: 0.3}, keep=1)
    assert whole_steps(tmp_path) == [5, 15]
    save_scored(tmp_path, {20: 0.95}, keep=1)
    assert whole_steps(tmp_path) == [20]


def test_a_checkpoint_is_chosen_by_its_step_or_its_score(tmp_path):
    run = tmp_path / "run"
    save_scored(run / checkpoints.FOLDER, {5: 0.5, 10: 0.7, 15: 0.7, 20: 0.6, 25: None}, keep=9)
    expected = {"": 25, ":best": 15, ":5": 5, ":10": 10, ":25": 25}  # of two equals the later one
    for folder in (run, run / checkpoints.FOLDER):
        for which, step in expected.items():
            model = load_model(f"{folder}{which}")
            assert model.config == tiny.CONFIG
            assert {float(x.min()) for x in jax.tree.leaves(model.params)} == {step}, which


def test_a_folder_whose_name_has_a_colon_is_taken_as_it_is(tmp_path):
    folder = tmp_path / "run:5"
    save_scored(folder, {5: None, 10: None}, keep=9)
    for source, step in ((folder, 10), (f"{folder}:5", 5)):
        assert float(load_model(source).params["fc8"]["bias"][0]) == step


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
def test_a_checkpoint_that_is_not_there_is_named(tmp_path, which, message):
    save_scored(tmp_path, {5: None, 10: None}, keep=9)
    with pytest.raises(FileNotFoundError, match=message) as caught:
        load_model(f"{tmp_path}:{which}")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("which", [":best", ":5", ":latest", ":-1"])
def test_a_choice_in_a_folder_that_is_not_there_is_named(tmp_path, which):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere.* does not exist; (did you mean .*\? Or )?make one with"
    ):
        load_model(f"{tmp_path / 'nowhere'}{which}")


def test_a_step_that_is_there_is_left_as_it_is(tmp_path):
    state = state_after(5)
    other = with_values(state, 5, lambda x: x + 1)
    with checkpoints.manager(tmp_path) as folder:
        checkpoints.save(folder, state)
        checkpoints.save(folder, other)
        assert_bit_equal(checkpoints.restore(folder, blank(state)), state)


def test_a_step_without_its_final_name_does_not_count(tmp_path):
    save_model(tmp_path, odd_model())
    half = tmp_path / "8.orbax-checkpoint-tmp-3"
    shutil.copytree(tmp_path / "0", half)
    assert_bit_equal(load_model(tmp_path).params, odd_params())
    assert half.exists(), "reading removes nothing"
    later = state_after(8)
    with checkpoints.manager(tmp_path) as folder:
        assert folder.latest_step() == 0
        checkpoints.save(folder, later)
    assert not half.exists()
    assert_bit_equal(load_model(tmp_path).params, later.model.params)


def test_a_model_comes_back_with_its_card(tmp_path):
    config = ModelConfig("tiny", NAMES, tiny.SIZE, ("fc6", "fc8"), "cubic")
    params = odd_params()
    params["fc8"] = jax.tree.map(lambda x: x[..., :3], params["fc8"])
    save_model(tmp_path / "run" / checkpoints.FOLDER, Model(params, config))
    for folder in (tmp_path / "run", str(tmp_path / "run" / checkpoints.FOLDER)):
        loaded = load_model(folder)
        assert loaded.config == config
        assert isinstance(loaded.class_names, tuple)
        assert isinstance(loaded.config.fresh_layers, tuple)
        assert_bit_equal(loaded.params, params)


def test_a_training_states_model_is_its_latest(tmp_path):
    state = state_after(3)
    later = with_values(state, 12, lambda x: -x)
    with checkpoints.manager(tmp_path) as folder:
        for each in (state, later):
            checkpoints.save(folder, each)
    model = load_model(tmp_path)
    assert model.config == tiny.CONFIG
    assert_bit_equal(model.params, later.model.params)


def test_a_folder_can_be_read_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("model", odd_model())
    assert_bit_equal(load_model("model").params, odd_params())
    shutil.move(tmp_path / "model", tmp_path / "moved ü")
    assert_bit_equal(load_model(tmp_path / "moved ü").params, odd_params())


def test_a_model_is_never_overwritten(tmp_path):
    save_model(tmp_path, odd_model())
    with pytest.raises(FileExistsError, match="already holds a checkpoint; choose another") as e:
        save_model(tmp_path, odd_model(1))
    assert str(tmp_path) in str(e.value)
    assert_bit_equal(load_model(tmp_path).params, odd_params())


@pytest.mark.parametrize("inside", ["", "run", "run/checkpoints"])
def test_a_folder_without_checkpoints_is_named(tmp_path, inside):
    (tmp_path / "run" / "checkpoints" / "5.orbax-checkpoint-tmp-1").mkdir(parents=True)
    with pytest.raises(
        FileNotFoundError, match=r"holds no checkpoint; (did you mean .*\? Or )?make one with"
    ) as caught:
        load_model(tmp_path / inside)
    assert str(tmp_path / inside) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere does not exist; (did you mean .*\? Or )?make one with"
    ):
        load_model(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(
        FileNotFoundError, match="file is a file, and a checkpoint is a folder; name"
    ):
        load_model(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(FileNotFoundError, match=r"does not exist; make it with `make quickstart`"):
        load_model(tmp_path / "runs/quickstart")


def test_near_misses_of_a_runs_name_are_told(tmp_path):
    save_model(tmp_path / "runs" / "quickstart" / checkpoints.FOLDER, odd_model())
    for name in ("quickstrat", "quick_start"):
        with pytest.raises(
            FileNotFoundError, match=r"; did you mean .*runs/quickstart\?"
        ) as caught:
            load_model(tmp_path / "runs" / name)
        assert f"{name} does not exist" in str(caught.value)
    with pytest.raises(FileNotFoundError) as caught:
        load_model(tmp_path / "runs" / "emoji")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["quickstart", "quickstart/efficientnet-lite0"])
def test_a_quickstart_that_was_stopped_is_to_be_run_whatever_lies_beside_it(tmp_path, name):
    for other in ("start", "quickstart2", "quickstart/efficientnet-lite1"):
        save_model(tmp_path / "runs" / other, odd_model())
    with pytest.raises(FileNotFoundError, match=r"make it with `make quickstart`") as caught:
        load_model(tmp_path / "runs" / name)
    assert "did you mean" not in str(caught.value)


def test_what_orbax_says_of_every_checkpoint_that_is_read_is_not_repeated(tmp_path, caplog):
    save_model(tmp_path, odd_model())
    load_model(tmp_path)
    assert "read only" not in caplog.text and "tracked_metric" not in caplog.text


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
def test_damage_to_any_file_is_one_clear_error_or_none(tmp_path, damage):
    """Some files are not needed to read a model: then it is read, and equal. All others: the error."""
    whole = tmp_path / "whole"
    save_model(whole, odd_model())
    refused = []
    for number, name in enumerate(files_of(whole)):
        broken = shutil.copytree(whole, tmp_path / f"broken{number}")
        damage(broken / name)
        try:
            model = load_model(broken)
        except ValueError as error:
            refused.append(name)
            assert str(broken) in str(error) and "\n" not in str(error), name
            assert str(error).endswith("or make it again")
        else:
            assert model.config == tiny.CONFIG, name
            assert_bit_equal(model.params, odd_params())
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
def test_a_changed_bit_among_the_values_is_refused(tmp_path, at):
    """Orbax does not see it: only what was saved beside the values tells."""
    save_model(tmp_path / "model", odd_model())
    flip(largest_file(tmp_path / "model"), at)
    with pytest.raises(ValueError, match=r"cannot be read \(.*\); remove it"):
        load_model(tmp_path / "model")


def test_values_of_another_model_are_refused(tmp_path):
    state = state_after(3)
    with checkpoints.manager(tmp_path / "state") as folder:
        checkpoints.save(folder, state)
    save_model(tmp_path / "model", odd_model())
    for name, step in (("state", "3"), ("model", "0")):
        path = tmp_path / name / step / "model" / "metadata"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "0" * 16}))
    with pytest.raises(ValueError, match=r"digest [0-9a-f]{64}, those that were saved 0000"):
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
            checkpoints.save(folder, state)
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
def test_an_empty_step_is_refused(tmp_path):
    (tmp_path / "4").mkdir()
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_does_not_fit_on_the_disk_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    state = state_after(3)
    with checkpoints.manager(tmp_path / "run") as folder:
        checkpoints.save(folder, state)
    before = files_of(tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(OSError, match="free some and run the command again") as caught:
        save_model(tmp_path / "model", state.model)
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "model")
    with (
        pytest.raises(OSError, match="free some and run the command again"),
        checkpoints.manager(tmp_path / "run") as folder,
    ):
        checkpoints.save(folder, state.replace(step=jnp.int32(4)))
    assert files_of(tmp_path) == before and not (tmp_path / "model").exists()
    assert_bit_equal(load_model(tmp_path / "run").params, state.model.params)


@noisy
def test_a_disk_that_fills_up_half_way_keeps_the_last_whole_checkpoint(small_disk, monkeypatch):
    """The check has passed, and then another program takes the space."""
    disk = small_disk(1)
    state = state_after(3)
    with checkpoints.manager(disk / "run") as folder:
        checkpoints.save(folder, state)
    monkeypatch.setattr(checkpoints, "check_space", lambda *_: None)
    (disk / "others").write_bytes(b"x" * (shutil.disk_usage(disk).free - 8192))
    with pytest.raises(OSError) as caught, checkpoints.manager(disk / "run") as folder:
        checkpoints.save(folder, state.replace(step=jnp.int32(4)))
    assert caught.value.errno == errno.ENOSPC
    assert whole_steps(disk / "run") == [3]
    assert_bit_equal(load_model(disk / "run").params, state.model.params)


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
def test_a_card_that_does_not_fit_its_parameters_is_refused(tmp_path, changes):
    save_model(tmp_path, odd_model())
    change_card(tmp_path, **changes)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@noisy
def test_an_unknown_backbone_is_refused(tmp_path):
    save_model(tmp_path, odd_model())
    change_card(tmp_path, backbone="resnet")
    with pytest.raises(ValueError, match="backbone='resnet' is unknown") as caught:
        load_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


@noisy
def test_a_lost_item_is_refused(tmp_path):
    for item in ("params", "model"):
        folder = tmp_path / item
        save_model(folder, odd_model())
        shutil.rmtree(folder / "0" / item)
        with pytest.raises(ValueError, match="cannot be read") as caught:
            load_model(folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_alexnet_comes_back_with_its_configuration(tmp_path):
    shapes = jax.eval_shape(lambda: init_model(ALEXNET, 0))
    model = jax.tree.map(lambda x: np.random.default_rng(0).random(x.shape, np.float32), shapes)
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert loaded.config == ALEXNET
    assert_bit_equal(loaded.params, model.params)


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    """It called a backbone a variant, knew no resizing, and digested values without names or shapes."""
    model = odd_model()
    save_model(tmp_path, model)
    path = tmp_path / "0" / "model" / "metadata"
    content = json.loads(path.read_text())
    content["variant"] = content.pop("backbone")
    del content["resizing"]
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(model.params):
        digest.update(leaf.tobytes())
    for text, fits in ((digest.hexdigest()[:16], True), ("0" * 16, False)):
        path.write_text(json.dumps(content | {"fingerprint": text}))
        if fits:
            assert load_model(tmp_path).config == tiny.CONFIG
        else:
            with pytest.raises(ValueError, match="those that were saved 0000"):
                load_model(tmp_path)


def test_the_folder_of_a_step_names_it(tmp_path):
    save_scored(tmp_path / "run" / "checkpoints", {5: 0.2, 10: 0.1}, keep=2)
    for named in ("checkpoints/5", "checkpoints/5/", "checkpoints/5/params"):
        model = checkpoints.load_model(f"{tmp_path}/run/{named}")
        assert (model.params["fc8"]["bias"] == 5).all()
    with pytest.raises(FileNotFoundError, match="does not exist; make one"):
        checkpoints.load_model(tmp_path / "run" / "checkpoints" / "7")


@pytest.mark.parametrize(("which", "value"), [("", 10), (":best", 5), (":10", None)])
def test_a_checkpoint_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, which, value):
    save_scored(tmp_path, {5: 0.2, 10: 0.1}, keep=2)
    choose, gone = checkpoints._chosen_step, []

    def chosen(manager, which):
        step = choose(manager, which)
        if not gone:
            gone.append((tmp_path / str(step)).rename(tmp_path / str(step + 1)))
        return step

    monkeypatch.setattr(checkpoints, "_chosen_step", chosen)
    if value is None:
        with pytest.raises(FileNotFoundError, match="no checkpoint with step 10, only those"):
            checkpoints.load_model(f"{tmp_path}{which}")
    else:
        model = checkpoints.load_model(f"{tmp_path}{which}")
        assert (model.params["fc8"]["bias"] == value).all()


def test_an_interrupt_while_it_is_read_is_no_damage(tmp_path, monkeypatch):
    """Orbax wraps whatever comes while it waits for an array; nobody is to remove a whole checkpoint."""
    save_model(tmp_path / "model", odd_model())

    def interrupted(*args, **options):
        raise Exception("while an array was read") from KeyboardInterrupt()

    monkeypatch.setattr(ocp.CheckpointManager, "restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_model(tmp_path / "model")
