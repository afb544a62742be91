"""launch.extract: files of features, by one process or by two."""

import socket
import subprocess
import sys

import numpy as np
import pytest

from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.retrieval.feature_files import open_features
from dsf_jax.training.checkpoints import save_model
from tests.launch.scripts import ROOT, arguments_of, environment

SETS = "openmoji/sketch,openmoji/photo:train"


@pytest.fixture(scope="module")
def flags(data_dir, tmp_path_factory):
    """Of an AlexNet on small pictures: its convolutions take a tenth of the time."""
    checkpoint = tmp_path_factory.mktemp("small") / "checkpoint"
    save_model(checkpoint, init_model(ModelConfig("caffe", ("one", "two"), 67, ()), seed=0))
    return {"checkpoint": checkpoint, "data_dir": data_dir, "datasets": SETS, "batch_size": 2}


@pytest.fixture(scope="module")
def alone(launch, flags, tmp_path_factory):
    """What one process writes."""
    out = tmp_path_factory.mktemp("features") / "out"
    return launch("extract", out=out, layers="L6,pool5", **flags), out


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_features_of_two_data_sets(alone):
    result, out = alone
    assert result.succeeded().splitlines() == [
        f"openmoji/sketch [test]: 3 examples, L6 (4096), pool5 (256), in {out}/openmoji/sketch/test",
        f"openmoji/photo [train]: 5 examples, L6 (4096), pool5 (256), in {out}/openmoji/photo/train",
    ]
    for name, split, domain, n in (("sketch", "test", "sketch", 3), ("photo", "train", "photo", 5)):
        found = open_features(out / "openmoji" / name / split)
        assert found.configuration["domain"] == domain and len(found.source_ids) == n
        assert found.configuration["resizing"] == "edge_preserving"
        names = [found.configuration["class_names"][label] for label in found.labels]
        assert len(set(names)) == n  # an emoji is a class
        for layer, d in (("L6", 4096), ("pool5", 256)):
            assert found.features[layer].shape == (n, d)
            lengths = np.linalg.norm(found.features[layer], axis=1)
            np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)


def test_running_again_changes_nothing(launch, flags, alone):
    result, out = alone
    before = contents(out)
    assert launch("extract", out=out, layers="L6,pool5", **flags).succeeded() == result.out
    assert contents(out) == before


def test_two_processes_write_what_one_does(flags, alone, tmp_path):
    """Each on one device: block k is of process k modulo 2."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = flags | {"layers": "L6,pool5", "out": tmp_path / "out"}
    together = {"coordinator": address, "processes": 2}
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                *arguments_of("extract", (), given | together | {"process": number}),
            ],
            cwd=ROOT,
            env=environment(tmp_path),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(2)
    ]
    told = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    lines = [[line for line in out.splitlines() if " examples, " in line] for out, _ in told]
    assert [len(own) for own in lines] == [2, 0]  # the first speaks for both
    # Sketches make two blocks, photos three: of these the second process computes one each.
    assert "2/2" in told[1][1]
    assert contents(tmp_path / "out") == contents(alone[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checkpoint": "/nowhere"}, ("/nowhere does not exist", "launch.train")),
        ({"data_dir": "/nowhere"}, ("/nowhere", "launch.build_data")),
        ({"datasets": "openmoji/sketch:val"}, ("no split 'val'", "train, test")),
        ({"layers": "L6,fc9"}, ("layer='fc9' is unknown", "choose one of L6, L7, L6+L7, pool5")),
        ({"layers": "L6,L6"}, ("layers=L6, L6 must name", "each once")),
    ],
)
def test_what_is_wrong_is_named_and_nothing_written(changes, words, launch, flags, tmp_path):
    launch("extract", **(flags | {"out": tmp_path / "out"} | changes)).failed(*words)
    assert not (tmp_path / "out").exists()


def test_features_of_other_layers_are_left_alone(launch, flags, alone):
    before = contents(alone[1])
    result = launch("extract", out=alone[1], layers="L7", **flags)
    result.failed("layers is", "there and", "choose another folder")
    assert contents(alone[1]) == before
