"""A strict test bed: eight virtual devices, rank promotion raises, warnings are errors
(pyproject.toml)."""

import atexit
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

# A third of the suite is compilation: what is computed is compared, not how fast. With =0 in the
# environment the suite runs what users run. Processes that tests start inherit it.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# XLA's older emitter compiles small functions in half the time. At a flag that it does not know XLA ends
# the process, so that another one tries it first.
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and "XLA_FLAGS" not in os.environ:
    _flags = {"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}
    _try = "from jaxlib import xla_client; xla_client.CompileOptions()"
    if not subprocess.run(
        [sys.executable, "-c", _try], env=os.environ | _flags, capture_output=True
    ).returncode:
        os.environ.update(_flags)
# Workers and scripts get huge pages, which commands would start themselves again for.
os.environ.setdefault("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
# What one test has compiled, the others read, in all processes of the session.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder = tempfile.mkdtemp(prefix="dsf_jax_compiled_")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import hypothesis
import jax
import pytest

# Files that take minutes, the longest first: what begins last decides when all have ended.
LONG = (
    "launch/train_test.py",
    "training/processes_test.py",
    "launch/evaluate_test.py",
    "training/loop_test.py",
    "launch/reproduce_test.py",
    "launch/figures_test.py",
    "launch/ablations_test.py",
    "launch/index_test.py",
)

pytest_plugins = ["tests.launch.fixtures"]

# No test fails of being slow: on a busy machine any one is, once.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.hookimpl(tryfirst=True)  # before -m chooses among them
def pytest_collection_modifyitems(items):
    """Puts the long files first; what starts a script or a browser is slow."""
    rank = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get("/".join(item.path.parts[-2:]), len(LONG)))
    for item in items:
        if {"launch", "browser"} & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes a disk of some MiB; where that is not allowed, the test is skipped."""
    with contextlib.ExitStack() as undo:

        def make(size, *, options="rw"):
            folder = tmp_path / "disk"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,{options}", "tmpfs", folder]
            if shutil.which("mount") is None or os.geteuid() != 0:
                pytest.skip("only root can mount a small disk to fill")
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"no small disk to fill: {done.stderr.strip()}")
            undo.callback(subprocess.run, ["umount", "-l", folder], check=True)
            return folder

        yield make
