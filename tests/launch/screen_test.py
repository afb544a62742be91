"""The screen of long work: a line per step, all else in the log, whoever prints it."""

import io
import os
import pathlib
import pty
import re
import subprocess
import sys
import textwrap
import types

import pytest
from tqdm import tqdm

from launch import screen as screen_module
from launch.screen import Screen

ROOT = pathlib.Path(__file__).parents[2]
WORK = """
    import os, pathlib, subprocess, sys, warnings
    from tqdm import tqdm
    from launch.screen import logged
    with logged(pathlib.Path(sys.argv[1]), 2) as screen:
        with screen.step("first thing") as said:
            print("a library talks")
            warnings.warn("and warns", stacklevel=1)
            os.write(2, b"C++ talks\\n")
            subprocess.run(["echo", "a process talks"])
            for _ in tqdm(range(4), desc="part", mininterval=0.0):
                pass
            said += ["42 found", "mAP .5"]
        with screen.step("second thing"):
            if "fail" in sys.argv:
                raise ValueError("it broke")
    print("the end")
"""


def arguments(log, *more):
    return [sys.executable, "-c", textwrap.dedent(WORK), str(log), *more]


def test_without_a_terminal_each_step_is_a_line(tmp_path):
    log = tmp_path / "new" / "log"
    done = subprocess.run(arguments(log), cwd=ROOT, text=True, capture_output=True, check=True)
    first, second, end = done.stdout.splitlines()
    assert re.fullmatch(r"1/2 first thing +\d+ s  42 found, mAP \.5", first)
    assert re.fullmatch(r"2/2 second thing +\d+ s", second)
    assert end == "the end" and not done.stderr
    kept = log.read_text()
    for words in ("a library talks", "and warns", "C++ talks", "a process talks", "part: 100%"):
        assert words in kept
    subprocess.run(arguments(log), cwd=ROOT, capture_output=True, check=True)
    assert log.read_text().count("C++ talks") == 2


def test_an_error_is_told_where_it_would_be(tmp_path):
    done = subprocess.run(
        arguments(tmp_path / "log", "fail"), cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 1 and "ValueError: it broke" in done.stderr
    assert "ValueError" not in (tmp_path / "log").read_text()
    assert "first thing" in done.stdout and "second thing" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_on_a_terminal_a_bar_moves_and_leaves_no_trace(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(arguments(tmp_path / "log"), cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 1000)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert "1/2 first thing: part" in text and "talks" not in text and "warns" not in text
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\r\n") if line.strip()]
    assert [line.split()[0] for line in lines] == ["1/2", "2/2", "the"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_as_far_as_the_part_that_is_worked_on(monkeypatch):
    clock = iter((100.0, 165.4))
    monkeypatch.setattr(screen_module, "time", types.SimpleNamespace(monotonic=clock.__next__))
    screen = Screen(terminal := Terminal(), 1)
    screen.advance("too early", 50)
    with screen.step("work"):
        screen.advance("reading", 50)
        assert "1/1 work: reading" in terminal.getvalue()
        assert terminal.getvalue().rpartition("\r")[2].count("#") == 6
    assert terminal.getvalue().endswith(f"{'1/1 work':46}    65 s\n")
    assert not tqdm._instances
