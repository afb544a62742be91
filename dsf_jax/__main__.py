"""Runs a command from wherever the package is installed.

python -m dsf_jax train --help

does what `python -m launch.train --help` does in the repository, whose folders `launch` and
`data_builders` an installed package keeps to itself: under these names they would hide other projects'.
"""

import pathlib
import runpy
import sys

_INSTALLED = pathlib.Path(__file__).with_name("_commands")  # setup.py puts them there
_FOLDER = _INSTALLED if _INSTALLED.is_dir() else pathlib.Path(__file__).parent.parent


def main() -> None:
    """Runs the command that the first argument names, with the others."""
    sources = sorted((_FOLDER / "launch").glob("*.py"))
    names = [path.stem for path in sources if "common.run(main" in path.read_text("utf-8")]
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        named = repr(sys.argv[1]) if len(sys.argv) > 1 else "no command"
        sys.exit(f"error: {named} is no command; choose one of {', '.join(names)}")
    sys.path.insert(0, str(_FOLDER))
    name = sys.argv.pop(1)
    runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
