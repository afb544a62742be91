"""An installed package has one name of its own, and runs the commands."""

import subprocess
import sys

import setuptools

from tests.launch.scripts import ROOT


def test_what_is_installed_has_one_name_at_the_top(monkeypatch):
    given = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    exec((ROOT / "setup.py").read_text(), {"__file__": str(ROOT / "setup.py")})
    assert {name.partition(".")[0] for name in given["packages"]} == {"dsf_jax"}
    for name in ("launch", "launch.benchmarks", "data_builders", "data_builders.openmoji"):
        assert f"dsf_jax._commands.{name}" in given["packages"]
    assert all((ROOT / top).is_dir() for top in given["package_dir"].values())


def dsf_jax(folder, *arguments):
    command = [sys.executable, "-m", "dsf_jax", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_commands_run_by_their_names():
    done = dsf_jax(ROOT, "search", "--help")
    assert done.returncode == 0 and "--sketch" in done.stdout


def test_an_unknown_command_is_one_line():
    for arguments in ((), ("serch",), ("common",)):
        done = dsf_jax(ROOT, *arguments)
        assert done.returncode == 1 and "choose one of " in done.stderr and "train" in done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
