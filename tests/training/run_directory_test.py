"""A run writes down what it takes to repeat it, and no other run goes on in its folder."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from dsf_jax.models.model import Model, ModelConfig
from dsf_jax.training import checkpoints, run_directory
from dsf_jax.training.config import TrainConfig
from dsf_jax.training.run_directory import (
    CONFIG_FILE,
    claim,
    read_config,
    revision,
    session,
)

CONFIG = ModelConfig("caffe", ("ant", "Äffchen 🐒"), 67, ("fc8",))
PARAMS = {"fc8": {"kernel": np.float32([[1, 2]]), "bias": np.float32([3])}}
MODEL = Model(PARAMS, CONFIG)
COMMAND = {"flags": {"mixture": "S+I"}, "class_map": None}


def claimed(run_dir, config=None, model=MODEL, data=("sketches",), command=COMMAND):
    claim(run_dir, config or TrainConfig(), model, list(data), command, steps=9)
    return read_config(run_dir)


def begin(run_dir):
    """What makes a run that others must not go on: a checkpoint."""
    (run_dir / checkpoints.FOLDER / "5").mkdir(parents=True)


def test_what_is_kept(tmp_path):
    kept = claimed(tmp_path)
    assert TrainConfig(**kept["train"]) == TrainConfig()
    assert kept["train"].keys() == {field.name for field in dataclasses.fields(TrainConfig)}
    model = kept["model"]
    assert (model["backbone"], model["size"]) == ("caffe", 67)
    assert (model["class_names"], model["fresh_layers"]) == (["ant", "Äffchen 🐒"], ["fc8"])
    assert kept["start"]["data"] == ["sketches"]
    assert kept["start"]["digest of the start values"] == MODEL.digest()
    assert kept["command"] == COMMAND and kept["steps"] == 9
    (once,) = kept["sessions"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", once["time"])
    assert once["packages"]["jax"] and once["processes"] == 1
    assert once["devices"].startswith("8 ")
    assert "Äffchen 🐒" in (tmp_path / CONFIG_FILE).read_text(encoding="utf-8"), "readable"


def test_every_session_is_added_and_the_first_stay(tmp_path):
    first = claimed(tmp_path)["sessions"]
    begin(tmp_path)
    longer = TrainConfig(epochs=99)
    second = claimed(tmp_path, longer, command={"flags": {}})
    assert second["sessions"][:1] == first and len(second["sessions"]) == 2
    assert second["train"]["epochs"] == 99 and second["command"] == {"flags": {}}


def test_before_the_first_checkpoint_a_folder_is_anybodys(tmp_path):
    claimed(tmp_path)
    other = claimed(tmp_path, TrainConfig(seed=3))
    assert other["train"]["seed"] == 3 and len(other["sessions"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": TrainConfig(seed=5)}, "seed is 0 there and 5 now; choose another folder"),
        (
            {"config": TrainConfig(momentum=0.5, compute="bfloat16")},
            "momentum is 0.9 there and 0.5 now; compute is 'float32' there and 'bfloat16' now",
        ),
        ({"model": Model(PARAMS, CONFIG._replace(size=35))}, "size is 67 there and 35 now"),
        ({"data": ["photos"]}, r"data is \['sketches'\] there and \['photos'\] now"),
        (
            {"model": Model({"fc8": PARAMS["fc8"] | {"bias": np.float32([4])}}, CONFIG)},
            r"digest of the start values is '[0-9a-f]{59}\.\.\. there and '[0-9a-f]{59}\.\.\. now",
        ),
        ({"data": ["x" * 999]}, r"now; choose"),
    ],
)
def test_another_run_is_refused_and_named(tmp_path, changes, message):
    claimed(tmp_path)
    begin(tmp_path)
    before = (tmp_path / CONFIG_FILE).read_bytes()
    with pytest.raises(ValueError, match=message) as caught:
        claimed(tmp_path, **changes)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))
    assert (tmp_path / CONFIG_FILE).read_bytes() == before


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize(
    "change", [{"epochs": 7}, {"steps": 7}, {"save_every": 7}, {"keep": 7}, {"log_every": 7}]
)
def test_what_may_change(tmp_path, schedule, change):
    config = TrainConfig(schedule=schedule)
    claimed(tmp_path, config)
    begin(tmp_path)
    changed = dataclasses.replace(config, **change)
    (name,) = change
    if schedule == "cosine" and name in ("epochs", "steps"):
        with pytest.raises(ValueError, match=rf"{name} is \d+ there and 7 now"):
            claimed(tmp_path, changed)
    else:
        assert claimed(tmp_path, changed)["train"][name] == 7


def test_a_setting_that_an_older_run_did_not_write_is_named(tmp_path):
    kept = claimed(tmp_path)
    begin(tmp_path)
    del kept["train"]["compute"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="compute is None there and 'float32' now"):
        claimed(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"train": {"epo', "\x00"])
def test_a_damaged_file_is_named(tmp_path, content):
    claimed(tmp_path)
    begin(tmp_path)
    (tmp_path / CONFIG_FILE).write_text(content)
    for read in (read_config, claimed):
        with pytest.raises(ValueError, match=r"config\.json is damaged \(.*\); choose") as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_file_in_another_form_is_named(tmp_path):
    (tmp_path / CONFIG_FILE).write_bytes(b'{"train": "\xff"}')
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        read_config(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is not there; name the folder of a"):
        read_config(tmp_path)


def test_only_the_primary_process_writes_and_all_check(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "is_primary", lambda: False)
    claim(tmp_path, TrainConfig(), MODEL, ["sketches"], COMMAND, steps=9)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    claimed(tmp_path)
    begin(tmp_path)
    monkeypatch.setattr(run_directory, "is_primary", lambda: False)
    with pytest.raises(ValueError, match="seed is 0 there and 5 now"):
        claimed(tmp_path, TrainConfig(seed=5))


def test_a_digest_separates_values():
    def digest(params):
        return Model(params, CONFIG).digest()

    same = {"fc8": {"bias": np.float32([3]), "kernel": np.float32([[1, 2]])}}
    assert digest(same) == digest(PARAMS), "the order of names does not matter"
    assert len(digest(PARAMS)) == 64
    for bias in (np.float32([np.nextafter(np.float32(3), np.float32(4))]), np.float32([-3])):
        other = {"fc8": PARAMS["fc8"] | {"bias": bias}}
        assert digest(other) != digest(PARAMS)
    strided = {"fc8": PARAMS["fc8"] | {"kernel": np.float32([[1], [2]]).T}}
    assert digest(strided) == digest(PARAMS)


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    """It called the backbone a variant, had one loss, and digested values without their names."""
    kept = claimed(tmp_path)
    begin(tmp_path)
    del kept["train"]["loss"]
    kept["model"]["variant"] = kept["model"].pop("backbone")
    values = b"".join(PARAMS["fc8"][name].tobytes() for name in ("bias", "kernel"))
    for digest, fits in ((hashlib.sha256(values).hexdigest()[:16], True), ("0" * 16, False)):
        kept["start"] = {"data": ["sketches"], "fingerprint of the start values": digest}
        (tmp_path / CONFIG_FILE).write_text(json.dumps(kept))
        if fits:
            assert claimed(tmp_path)["start"]["digest of the start values"] == MODEL.digest()
        else:
            with pytest.raises(
                ValueError, match="digest of the start values is '0000000000000000'"
            ):
                claimed(tmp_path)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A copy of the module that takes itself for the source that runs, and git in its folder."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "source"
    folder.mkdir()
    copy = shutil.copy(run_directory.__file__, folder)
    monkeypatch.setattr(run_directory, "__file__", str(copy))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in [
        name for name in os.environ if name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    ]:
        monkeypatch.delenv(name)

    def git(*arguments):
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(folder), *name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    return pathlib.Path(copy), git


def test_the_revision_is_the_commit_and_tells_of_changes(source):
    path, git = source
    assert revision() is None, "a copy outside git"
    git("init")
    assert revision() is None, "inside somebody's repository, but no part of it"
    git("add", path.name)
    git("commit", "-m", "it")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40 and revision() == commit
    (path.parent / "notes.txt").write_text("not part of the source")
    assert revision() == commit
    path.write_text("# changed\n")
    assert revision() == f"{commit}+changes"
    assert session()["revision"] == f"{commit}+changes"


def test_without_git_there_is_no_revision(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision() is None
