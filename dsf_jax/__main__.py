"""Runs a command from wherever the package is installed.

dsf train --help

does what `python -m launch.train --help` does in the repository, and so does `python -m dsf_jax train
--help` where the command is not on the path. The repository's folders `launch` and `data_builders` an
installed package keeps to itself: under these names they would hide other projects'.
"""

import ast
import pathlib
import runpy
import sys

from dsf_jax.huge_pages import restart_with_huge_pages

_INSTALLED = pathlib.Path(__file__).with_name("_commands")  # setup.py puts them there
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else pathlib.Path(__file__).parent.parent
_HELP = ("--help", "-h", "help")


def main() -> None:
    """Runs the command that the first argument names, with the others."""
    commands = command_summaries()
    given = sys.argv[1] if len(sys.argv) > 1 else None
    if given in _HELP:
        print(_help(commands))
    elif given not in commands:
        sys.exit(
            f"error: {'no command is given' if given is None else f'{given!r} is no command'}; choose "
            f"one of {', '.join(commands)}, or see dsf --help"
        )
    else:
        restart_with_huge_pages()
        sys.path.insert(0, str(_FOLDER))
        runpy.run_module(f"launch.{sys.argv.pop(1)}", run_name="__main__", alter_sys=True)


def command_summaries() -> dict[str, str]:
    """Finds the commands: {name: what it does, in a line}."""
    sources = {
        path.stem: path.read_text("utf-8") for path in sorted((_FOLDER / "launch").glob("*.py"))
    }
    return {
        name: (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
        for name, source in sources.items()
        if "common.run(main" in source
    }


def _help(commands: dict[str, str]) -> str:
    """Lists the commands on one screen."""
    wide = max(map(len, commands))
    lines = [f"  {name:{wide}}  {' '.join(what.split())}" for name, what in commands.items()]
    return "\n".join(
        ["usage: dsf COMMAND [--flags]; dsf COMMAND --help lists its flags", "", *lines]
    )


if __name__ == "__main__":
    main()
