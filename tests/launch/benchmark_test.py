"""launch.benchmark from the shell, what it needs, and its errors."""

import json
import shlex
import subprocess
import sys

import numpy as np
import pytest
from absl import flags

from launch import benchmark
from launch.benchmarks.work import Setting, Work, checked
from tests.launch.scripts import ROOT, from_shell

pytestmark = pytest.mark.slow

# All that an accelerator machine has beside what comes with Python and these packages themselves.
ENOUGH = ("jax", "flax", "optax", "orbax.checkpoint", "chex", "absl", "numpy")
ABSENT = (
    "tensorflow_datasets", "grain", "lancedb", "cv2", "skimage", "matplotlib", "PIL", "scipy.stats",
    "sklearn", "faiss", "torch", "tensorboardX", "h5py", "safetensors",
)  # fmt: skip


def test_rows_from_the_shell(tmp_path):
    """Small ones: the table on standard output, the same figures as JSON."""
    out = tmp_path / "benchmark.json"
    result = from_shell(
        tmp_path, "benchmark", "--small", "--peers", what="metrics,search", rounds=1, json=out
    )
    printed = result.succeeded()
    assert "| mAP, 50 x 1000 | dsf_jax | " in printed and "| tau, 50 x 40 | SciPy | " in printed
    stored = json.loads(out.read_text())
    rows = {(row["what"], row["who"]): row for row in stored["rows"]}
    assert rows["mAP, 50 x 1000", "dsf_jax"]["ratio"]["median"] == 1
    assert rows["search 2000 x 64, 8 queries", "NumPy"]["difference"] < 1e-4
    assert stored["machine"]["cores"] >= 1 and stored["left_out"] == {}
    assert stored["versions"]["numpy"] == np.__version__
    _, _, _, *words = shlex.split(stored["command"])
    assert "--what=metrics,search" in words and "--rounds=1" in words and "--small=True" in words
    assert not [word for word in words if str(tmp_path) in word]


def test_a_page_of_what_was_recorded(tmp_path, launch):
    page = tmp_path / "page.md"
    page.write_text("an older page")
    assert str(page) in launch("benchmark", page=page).succeeded()
    assert page.read_text() == (ROOT / "docs" / "measurements.md").read_text()


def test_works_where_only_jax_and_its_like_are_installed():
    """Rows that need more are left out by name."""
    code = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
from launch.benchmarks.work import Setting
from launch import benchmark
from absl import flags
flags.FLAGS(["benchmark", "--rounds=1"])
rows, left_out = benchmark.run_rows(
    ["search", "metrics", "resize", "points", "pipeline", "cold_start"],
    Setting(small=True, peers=frozenset(["torch", "numpy"])), lambda *_: None)
print(sorted({{row.what.split(" ")[0] for row in rows}}), sorted(left_out))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    *_, last = done.stdout.splitlines()
    assert last == "['cold', 'mAP,', 'pen', 'resize', 'search', 'tau,'] ['pipeline', 'points']"


def test_what_fails_costs_its_row_alone_and_what_was_measured_is_kept(monkeypatch):
    def differing(setting):
        checked(0.5, "logits", "a peer")
        yield

    def too_large(setting):
        yield Work("the first part", lambda: None, 1, "calls")
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setitem(benchmark.ROWS, "forward", differing)
    monkeypatch.setitem(benchmark.ROWS, "train_step", too_large)
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["benchmark"])
    monkeypatch.setattr(flags.FLAGS, "rounds", 1)
    small = Setting(small=True, peers=frozenset(["numpy"]))
    kept = []
    rows, left_out = benchmark.run_rows(
        ["forward", "train_step", "resize"],
        small,
        lambda rows, left_out: kept.append(([row.what for row in rows], [*left_out])),
    )
    assert list(dict.fromkeys(row.what for row in rows)) == ["the first part", "resize", "pen"]
    first = ["the first part"]
    assert kept[:3] == [([], ["forward"]), (first, ["forward"]), (first, ["forward", "train_step"])]
    assert "Out of memory" in left_out["train_step"]
    assert "the logits of a peer differ from ours by 5.0e-01" in left_out["forward"]


@pytest.mark.parametrize(
    ("value", "names"),
    [("true", set(benchmark.PEERS)), ("false", set()), ("torch,faiss", {"torch", "faiss"})],
)
def test_peers_are_all_none_or_those_named(value, names):
    assert benchmark._PeersParser().parse(value) == names


@pytest.mark.parametrize(
    ("changes", "words", "status"),
    [
        ({"what": "backward"}, ("--what=backward is unknown", "forward, train_step"), 1),
        ({"json": "/nowhere/out.json"}, ("/nowhere is not a folder", "make it"), 1),
        ({"page": "page.md", "what": "forward"}, ("times nothing", "--what, or --page"), 1),
        ({"page": "/nowhere/page.md"}, ("/nowhere is not a folder", "make it"), 1),
        ({"peers": "theano"}, ("'theano' is unknown", "torch, faiss"), 2),
    ],
)
def test_what_is_wrong_is_named(changes, words, status, launch):
    launch("benchmark", **changes).failed(*words, status=status)
