"""The standard streams of a command: closed, left by their reader, of a poor encoding; and what is
printed when a script ends during its imports."""

import ast
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from launch import streams
from tests.launch.scripts import ROOT


def run(code, shell="", **environment):
    """Runs code in a new process; `shell` redirects its streams."""
    return subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {shell}', sys.executable, textwrap.dedent(code)],
        cwd=ROOT, env=os.environ | environment, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-", "<&-"])
def test_closed_streams_are_replaced_and_no_file_gets_their_number(closed):
    code = """
        import launch, os, sys
        file = open(os.devnull)
        print(file.fileno() > 2, file=sys.stderr)
        print(file.fileno() > 2, sys.stdin.read() if sys.stdin.name == os.devnull else "")
    """
    done = run(code, closed)
    assert done.returncode == 0 and done.stdout.startswith(b"True")


def test_a_closed_standard_output_is_nothing_to_fail_on():
    code = "import launch, sys; print('lost'); print('seen', file=sys.stderr)"
    done = run(code, ">&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"seen\n")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8:strict", "cp1252"])
def test_names_that_cannot_be_shown_are_escaped(encoding):
    code = r"""
        from launch import streams
        streams.escape()
        print("emoji \U0001f600, caf\udce9")
    """
    done = run(code, PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and rb"caf\udce9" in done.stdout


PRINTS = """
    import sys
    from launch import streams
    with streams.until_reader_leaves():
        for _ in range({lines}):
            print("x" * 100, file=sys.{stream})
"""


@pytest.mark.parametrize("lines", [1, 10_000])
@pytest.mark.parametrize(("stream", "pipe"), [("stdout", "| true"), ("stderr", "2>&1 | true")])
def test_a_reader_that_leaves_is_no_error(lines, stream, pipe):
    code = f"""
        import select, sys
        poll = select.poll()
        poll.register(sys.{stream}, 0)
        poll.poll(30_000)  # the reader has left then
    """
    code = textwrap.dedent(code) + textwrap.dedent(PRINTS.format(lines=lines, stream=stream))
    done = run(code, f'{pipe}; exit "${{PIPESTATUS[0]}}"')
    assert (done.returncode, done.stderr) == (streams.READER_LEFT, b"")


def test_other_broken_pipes_are_errors():
    with pytest.raises(BrokenPipeError, match="a worker"), streams.until_reader_leaves():
        raise BrokenPipeError("a worker")


def test_an_interrupt_during_the_imports_is_one_line():
    done = run(
        f"import launch, os; os.kill(os.getpid(), {int(signal.SIGINT)}); import time; time.sleep(9)"
    )
    assert done.stderr == b"error: interrupted; run the command again\n" and done.returncode


@pytest.mark.parametrize("waits", ["time.sleep(9)", "threading.Event().wait()"])
def test_an_interrupt_while_something_is_deleted_is_not_lost(waits):
    code = f"""
        import launch, os, signal, threading, time, weakref
        class Thing: pass
        thing = Thing()
        seen = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGINT))
        del thing
        {waits}
    """
    done = run(f"import signal; signal.alarm(30)\n{textwrap.dedent(code)}")
    assert (
        done.stderr == b"error: interrupted; run the command again\n"
        and done.returncode == -signal.SIGINT
    )


@pytest.mark.parametrize("module", ["lancedb", "no_such_library"])
def test_a_missing_package_is_one_line(module):
    done = run(f"import launch, sys; sys.modules[{module!r}] = None; import {module}.part")
    (line,) = done.stderr.decode().splitlines()
    extra = streams.EXTRAS.get(module)
    assert line.startswith(f"error: {module} is not installed; run `pip install -e .")
    assert extra is None or f"[{extra}]`, this project's extra `{extra}`" in line


@pytest.mark.parametrize("code", ["1 / 0", "from os import nothing", "import launch.nothing"])
def test_other_errors_keep_their_traceback(code):
    assert b"Traceback" in run(f"import launch\n{code}").stderr


def test_every_extra_is_one_of_setup():
    tree = ast.parse((ROOT / "setup.py").read_text())
    (extras,) = (
        node.value for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXTRAS"
    )  # fmt: skip
    named = {ast.literal_eval(key) for key in extras.keys}  # type: ignore[attr-defined]
    assert set(streams.EXTRAS.values()) <= named
