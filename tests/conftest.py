"""A strict test bed: eight virtual devices, rank promotion raises, warnings are errors
(pyproject.toml)."""

import contextlib
import os
import shutil
import subprocess

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


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
