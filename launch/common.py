"""What every launch script shares: flags from configuration fields, and errors as one line."""

import dataclasses
import errno
import inspect
import os
import pathlib
import re
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jax
from absl import app, flags, logging

Config = TypeVar("Config")

_DEFINE: dict[type, Any] = {
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}
_PERMISSIONS = "choose another place or change its permissions"
_IN_THE_WAY = "a file lies where a folder must be; choose another place or move the file"
_REMEDIES = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: _PERMISSIONS,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOENT: "make its folder first, or choose another place",
    errno.ENOSPC: "free some and run the command again",
}


def field_help(config: type[Any]) -> dict[str, str]:
    """Reads what a dataclass's docstring says of each attribute, in its `Attributes:` section."""
    section = (inspect.getdoc(config) or "").partition("Attributes:")[2]
    entries = re.findall(r"^  (\w+): (.*?)(?=^  \w+: |\Z)", section, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def define_flags(config: type[Any]) -> None:
    """Defines one absl flag a field of a dataclass: name, default and help stand there alone."""
    help_of = field_help(config)
    types = typing.get_type_hints(config)
    for field in dataclasses.fields(config):
        kind, text = types[field.name], help_of[field.name]
        default: Any = field.default
        if typing.get_origin(kind) is typing.Literal:
            flags.DEFINE_enum(field.name, default, typing.get_args(kind), text)
        else:
            _DEFINE[kind](field.name, default, text)


def config_from_flags(config: type[Config]) -> Config:
    """Builds a dataclass from the flags that `define_flags` made."""
    names = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    return config(**{name: flags.FLAGS[name].value for name in names})


def fail(message: str, status: int) -> NoReturn:
    """Prints one line on standard error and exits."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def run(main: Callable[[], None]) -> None:
    """Runs a launch script: parses flags, calls `main`, and turns what the user can mend into one
    line and a status.

    Status 2 stands for wrong flags, 1 for anything else that is wrong. `--verbosity=1` shows where
    an error was raised.

    Args:
      main: the script's work; it reads its flags itself.
    """
    for flag in flags.FLAGS.flags_by_module_dict().get(__name__, []):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        missing = re.findall(r"Flag (--\w+) must have a value other than None", str(error))
        reason = f"{', '.join(missing)} must be given" if missing else str(error).rstrip(".")
        fail(f"{reason}; --help lists the flags", 2)
    except SystemExit:  # after --help, with absl's status 1
        sys.exit(0)
    if rest[1:]:
        fail(
            f"unexpected argument {rest[1]!r}: every option is a flag, --name=value; --help lists them",
            2,
        )
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.FATAL)  # the errors that libraries log are raised as well
    return rest


def _print_unraisable(unraisable: Any) -> None:
    """Prints an exception that had nobody to go to, as Python does, but for one kind: the storage
    library's threads report to an event loop that a failed read or write has closed.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _guarded(main: Callable[[], None]) -> None:
    sys.unraisablehook = _print_unraisable
    jax.config.update(
        "jax_compilation_cache_dir",
        os.environ.get("JAX_COMPILATION_CACHE_DIR", str(compilation_cache())),
    )
    try:
        main()
    except KeyboardInterrupt:
        fail("interrupted; run the command again", 130)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        logging.debug("raised here", exc_info=True)
        fail(explain(error), 1)
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            raise
        fail(
            f"the device's memory is exhausted ({error}); lower --batch_size, or raise --accumulate "
            "where there is one",
            1,
        )


def new_file(path: str | None) -> pathlib.Path | None:
    """Checks, before any work is done for it, that an output file can be made.

    Args:
      path: given by a flag, or None.

    Returns:
      The path, or None.

    Raises:
      OSError: when the file is there already, or its folder is not.
    """
    if path is None:
        return None
    file = pathlib.Path(path)
    if file.exists():
        raise FileExistsError(f"{file} exists, and nothing is overwritten; choose another name")
    if not file.parent.is_dir():
        raise FileNotFoundError(f"{file.parent} is not a folder; make it, or choose another place")
    return file


def compilation_cache() -> pathlib.Path:
    """Returns the folder that compiled functions are kept in between runs."""
    return (
        pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
        / "dsf_jax"
        / "compiled"
    )


def explain(error: BaseException) -> str:
    """Words an error for the person at the terminal."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    line = f"{error.filename or 'the output'}: {error.strerror}"
    if error.strerror != os.strerror(error.errno):  # our own words, which say what to do
        return line
    return f"{line}; {_REMEDIES.get(error.errno, 'choose another place')}"
