"""Commands start again once, with huge pages, where the machine gives them on request."""

import os
import pathlib
import subprocess
import sys

import pytest

from dsf_jax import huge_pages

ASKED = "glibc.malloc.hugetlb=1"
ON_REQUEST = huge_pages._on_request()


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What a command is started again as; nothing where it is not."""
    calls = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-X", "utf8", "-m", "launch.train", "--a b"])
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(huge_pages, "_MODE", tmp_path / "enabled")
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    return calls


def test_a_command_starts_again_as_it_was_typed(started):
    huge_pages.restart_with_huge_pages()
    ((path, arguments, environment),) = started
    assert path == sys.executable
    assert arguments == [sys.executable, "-X", "utf8", "-m", "launch.train", "--a b"]
    assert environment == {**os.environ, "GLIBC_TUNABLES": ASKED}


def test_other_tunables_stay(started, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=3")
    huge_pages.restart_with_huge_pages()
    assert started[0][2]["GLIBC_TUNABLES"] == f"glibc.malloc.check=3:{ASKED}"


@pytest.mark.parametrize("value", [ASKED, "glibc.malloc.hugetlb=0", f"a=b:{ASKED}"])
def test_who_has_said_is_left_alone(started, monkeypatch, value):
    monkeypatch.setenv("GLIBC_TUNABLES", value)
    huge_pages.restart_with_huge_pages()
    assert not started


@pytest.mark.parametrize("mode", ["[always] madvise never\n", "always madvise [never]\n", None])
def test_where_asking_changes_nothing(started, mode):
    if mode is None:
        huge_pages._MODE.unlink()
    else:
        huge_pages._MODE.write_text(mode)
    huge_pages.restart_with_huge_pages()
    assert not started


@pytest.mark.parametrize("version", ["musl 1.2", None])
def test_other_c_libraries(started, monkeypatch, version):
    monkeypatch.setattr(os, "confstr", lambda name: version, raising=False)
    huge_pages.restart_with_huge_pages()
    monkeypatch.delattr(os, "confstr")
    huge_pages.restart_with_huge_pages()
    assert not started


@pytest.mark.skipif(not ON_REQUEST, reason="huge pages are not given on request here")
@pytest.mark.parametrize("command", [("launch.said",), ("dsf_jax", "said")])
def test_a_script_sees_them_and_its_arguments(tmp_path, command):
    root = pathlib.Path(__file__).parents[1]
    (tmp_path / "launch").mkdir()
    for name in ("__init__", "streams"):
        (tmp_path / "launch" / f"{name}.py").write_bytes(
            (root / "launch" / f"{name}.py").read_bytes()
        )
    (tmp_path / "launch" / "said.py").write_text(
        '"""Says what it was given.\n\ncommon.run(main)"""\nimport os, sys\n'
        "print(os.environ['GLIBC_TUNABLES'], *sys.argv[1:], sep='\\n')\n"
    )
    (tmp_path / "dsf_jax").symlink_to(root / "dsf_jax")
    given = {key: value for key, value in os.environ.items() if key != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-m", *command, "--x=a b", "c"], cwd=tmp_path, text=True,
        capture_output=True, check=True, env=given | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.splitlines() == [ASKED, "--x=a b", "c"] and not done.stderr
