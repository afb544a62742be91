"""launch/train_tpu_pod.sh: each worker runs the same command, and one without its TPU trains nothing."""

import os
import subprocess
import sys

import pytest

from tests.launch.scripts import ROOT

pytestmark = pytest.mark.slow

# Stands for Google's command: runs on this machine what it is to run on each worker.
GCLOUD = """#!/bin/bash
for argument in "$@"; do
  case "$argument" in --command=*) exec bash -c "${argument#--command=}";; esac
done
exit 3
"""
# A Slurm job of one task, which JAX finds by itself.
ALONE = {
    "SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_TASKS": "1",
    "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
}  # fmt: skip


@pytest.fixture
def pod(tmp_path):
    """A function that starts the script where `python` stands for the workers' Python."""

    def run(python, *arguments):
        tools = tmp_path / "bin"
        tools.mkdir()
        for name, text in {"gcloud": GCLOUD, "python3": python}.items():
            (tools / name).write_text(text)
            (tools / name).chmod(0o755)
        path = f"{tools}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | ALONE | {"PATH": path, "REPOSITORY": str(ROOT)}
        return subprocess.run(
            [ROOT / "launch/train_tpu_pod.sh", *arguments], env=environment, capture_output=True,
            text=True, timeout=240,
        )  # fmt: skip

    return run


ECHO = '#!/bin/bash\nprintf "%s|" "JAX_PLATFORMS=$JAX_PLATFORMS" "$@"\n'
COMMAND = "-m|launch.train|--coordinator=auto|"


def test_each_worker_gets_the_flags_as_they_are(pod):
    done = pod(ECHO, "pod", "zone", "--run_dir=/mnt/a b", "--mixture=S+I")
    assert done.stdout == f"JAX_PLATFORMS=tpu|{COMMAND}--run_dir=/mnt/a b|--mixture=S+I|"


def test_cpus_are_used_where_they_are_allowed(pod):
    done = pod(ECHO, "pod", "zone", "--allow_cpu", "--mixture=S")
    assert done.stdout == f"JAX_PLATFORMS=|{COMMAND}--mixture=S|"


def test_what_it_must_be_told(pod):
    done = pod(ECHO, "--data_dir=data")
    assert done.returncode == 2 and "TPU_NAME ZONE" in done.stderr


def test_a_worker_without_its_tpu_ends_with_a_line(pod, tmp_path):
    run_dir = tmp_path / "run"
    done = pod(
        f'#!/bin/bash\nexec {sys.executable} "$@"\n', "pod", "zone", f"--data_dir={tmp_path}",
        "--datasets=openmoji/sketch", "--mixture=S", "--init=random", f"--run_dir={run_dir}",
    )  # fmt: skip
    assert done.returncode == 1 and not run_dir.exists()
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("error: ") and "tpu" in line and "; " in line
