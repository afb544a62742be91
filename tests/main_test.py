"""The console command, from a clone and from a wheel that is installed beside a package called launch."""

import json
import os
import pathlib
import re
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
COMMANDS = (
    "ablations", "benchmark", "build_data", "evaluate", "export", "extract", "figures", "index",
    "make_model", "port_weights", "quickstart", "reproduce", "search", "serve", "train",
)  # fmt: skip

OF_A_CLONE = ("data_builders/README.md", "launch/train_tpu_pod.sh")  # what a wheel has no use for


def dsf_jax(*arguments, folder, path=ROOT):
    return subprocess.run(
        [sys.executable, "-m", "dsf_jax", *arguments], cwd=folder, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(path), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


@pytest.mark.parametrize("flag", ["--help", "-h", "help"])
def test_help_lists_every_command_with_what_it_does_on_one_screen(flag, tmp_path):
    told = dsf_jax(flag, folder=tmp_path)
    assert told.returncode == 0 and not told.stderr
    first, blank, *rows = told.stdout.splitlines()
    assert first.startswith("usage: dsf COMMAND") and not blank
    assert [row.split()[0] for row in rows] == list(COMMANDS)
    assert all(row.endswith(".") or len(row.split()) > 4 for row in rows) and len(rows) < 24


@pytest.mark.parametrize(
    ("arguments", "words"), [((), "no command is given"), (("sarch",), "'sarch' is no command")]
)
def test_what_is_no_command_is_told_those_there_are(arguments, words, tmp_path):
    told = dsf_jax(*arguments, folder=tmp_path)
    assert told.returncode == 1 and told.stderr.startswith(f"error: {words}; choose one of")
    assert all(name in told.stderr for name in COMMANDS) and told.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_container_runs_commands_that_there_are(tmp_path):
    """As far as a machine without a registry can say; the shell's own commands stand in for ours."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    (command,) = (
        json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")
    )
    said = tmp_path / "said"
    (tmp_path / "dsf").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {said}\n')
    (tmp_path / "dsf").chmod(0o755)
    given = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PHOTOS": "/my pictures", "CHECKPOINT": "hf:a/b",
        "ALLOWED_HOSTS": "",
    }  # fmt: skip
    subprocess.run(command, env=given, check=True)
    index, *photos = said.read_text().splitlines()
    assert (index, photos[0]) == ("index", "--photos=/my pictures")
    for word in (index, *photos):
        if word in COMMANDS:
            flags = dsf_jax(word, "--help", folder=tmp_path).stdout
        else:
            assert f"  {word.partition('=')[0]}:" in flags
    (extras,) = (re.search(r'"/src\[(.*)\]"', line)[1] for line in lines if "/src[" in line)
    known = (ROOT / "setup.py").read_text()
    assert all(f'"{extra}":' in known for extra in extras.split(","))


@pytest.mark.slow
def test_an_installed_wheel_leaves_other_packages_names_alone(tmp_path):
    pytest.importorskip(
        "setuptools.command.bdist_wheel",
        reason="no setuptools of 2024 or later: it builds no wheel",
    )
    source = tmp_path / "source"
    git = ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"]
    files = subprocess.run(git, text=True, capture_output=True, check=True).stdout.splitlines()
    for name in files:
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run([sys.executable, "-m", "pip", "-q", *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)  # what pip does with a wheel without scripts
    (other := installed / "launch").mkdir()
    (other / "__init__.py").write_text("WHOSE = 'another project'\n")

    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"dsf_jax", "launch"}
    assert (
        dsf_jax("--help", folder=tmp_path, path=installed).stdout.count("\n") == len(COMMANDS) + 2
    )
    for name in files:  # data files included
        if name.startswith(("dsf_jax/", "data_builders/", "launch/")) and name not in OF_A_CLONE:
            folder = "" if name.startswith("dsf_jax/") else "dsf_jax/_commands"
            assert (installed / folder / name).is_file(), name
    for command in ("search", "train", "make_model"):
        told = dsf_jax(command, "--help", folder=tmp_path, path=installed)
        assert told.stderr == "" and "flags:" in told.stdout
    whose = "import dsf_jax, launch; print(launch.WHOSE, dsf_jax.__file__)"
    told = subprocess.run(
        [sys.executable, "-c", whose], cwd=tmp_path, text=True, capture_output=True, check=True,
        env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    assert told.stdout.startswith("another project") and str(installed) in told.stdout
