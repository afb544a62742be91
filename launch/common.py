"""What launch scripts share: how they start, what of their flags is said, and errors as one line."""

import ast
import contextlib
import errno
import os
import pathlib
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TextIO, TypeVar

import jax
from absl import app, flags, logging

from dsf_jax.data.files import user_cache
from launch import shared_flags, streams

if TYPE_CHECKING:
    from dsf_jax.models.model import Model

Value = TypeVar("Value")

# {script: {flag that it had: what is written instead}}
OLD_SPELLINGS = {
    "build_data": {"processes": "--workers", "photos": "--photo_set"},
    "ablations": {"photos": "--photo_sets"},
    "evaluate": {"photos": "--photo_sets"}
    | dict.fromkeys(
        ("table", "figure", "runs", "folds", "checkpoints", "pretrained"),
        "a flag of launch.reproduce",
    ),
    "figures": {
        "classes": "--shown_classes",
        "layers": "--inverted_layers",
        "photos": "--photo_sets",
    },
    "port_weights": {"variant": "--backbone"},
    "reproduce": {"photos": "--photo_sets"},
    "train": {"variant": "--backbone"},
}

_SHOW_WARNING = warnings.showwarning
_PERMISSIONS = "choose another place or change its permissions"
_IN_THE_WAY = "a file lies where a folder must be; choose another place or move the file"
_REMEDIES = {
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: _PERMISSIONS,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.ENOENT: "neither is its folder: name a file that is there, or, for one to write, make the folder",
    errno.ENOSPC: "free some and run the command again",
}


def _keep_purpose() -> None:
    """Gives the script the docstring that --help begins with, where Python has dropped it (-OO)."""
    script = sys.modules["__main__"]
    if sys.flags.optimize >= 2 and script.__file__:
        source = pathlib.Path(script.__file__).read_text(encoding="utf-8")
        script.__doc__ = ast.get_docstring(ast.parse(source))


def note(message: str) -> None:
    """Prints one line on standard error that a person should know; the command goes on."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def told(model: "Model", checkpoint: str) -> "Model":
    """Says on standard error what may be expected of a network, and returns it."""
    note(model.card.sentence(checkpoint))
    return model


def fail(message: str, status: int) -> NoReturn:
    """Prints one line on standard error and exits."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


class Choice(NamedTuple):
    """A flag whose value decides which of a script's other flags it takes.

    Flags that no value takes by name are taken by all.
    """

    flag: flags.FlagHolder[Any]
    takes: Mapping[str, Sequence[flags.FlagHolder[Any]]]

    def value(self, arguments: Sequence[str]) -> str | None:
        """Returns the value on a command line that is not parsed yet, or the default."""
        return chosen(arguments, self.flag.name) or self.flag.default

    def not_taken(self, value: str | None) -> dict[str, str]:
        """Returns the flags that a value does not take, each with the values that do."""
        takers: dict[str, list[str]] = {}
        for other, taken in self.takes.items():
            for flag in taken:
                takers.setdefault(flag.name, []).append(other)
        return {name: ", ".join(by) for name, by in takers.items() if value not in by}


def chosen(arguments: Sequence[str], flag: str) -> str | None:
    """Returns the value that a command line gives a flag, before flags are parsed: the last; None for
    none.

    Flags must be defined before they are parsed, and which there are may depend on one of them.
    """
    found = re.findall(rf"(?:^|\n)--?{flag}[=\n]([^\n]*)", "\n".join(arguments))
    return found[-1] if found else None


def given(flag: flags.FlagHolder[Value | None], choice: flags.FlagHolder[Any]) -> Value:
    """Returns the value of a flag that what is chosen needs; ValueError when it is not given."""
    if flag.value is None:
        raise ValueError(f"--{choice.name}={choice.value} needs --{flag.name}; give it")
    return flag.value


def run(main: Callable[[], None], choice: Choice | None = None) -> None:
    """Runs a launch script: parses flags, calls `main`, and turns what the user can fix into one
    line and a status.

    Status 2 stands for wrong flags, 1 for anything else that is wrong. `--verbosity=1` shows where
    an error was raised.

    Args:
      main: the script's work; it reads its flags itself.
      choice: which flags belong together. `--help` omits those that the chosen value does not take,
        and they are refused.
    """
    streams.escape()
    _keep_purpose()
    value = choice.value(sys.argv) if choice else None
    # Where nothing is chosen yet, --help lists all.
    not_taken = choice.not_taken(value) if choice and value is not None else {}
    _hide(not_taken)
    _space_choices()
    for flag in flags.FLAGS.flags_by_module_dict().get(shared_flags.__name__, []):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)

    def parse(arguments: Sequence[str]) -> list[str]:
        rest = _parse(arguments)
        for name, by in not_taken.items():
            if choice and flags.FLAGS[name].present:
                fail(f"--{name} is for --{choice.flag.name}={by} only; omit it", 2)
        return rest

    with streams.until_reader_leaves():
        app.run(lambda _: _guarded(main), flags_parser=parse)


def _space_choices() -> None:
    """Lets --help break a list of choices between them, not inside of their names."""
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if isinstance(flag, flags.EnumFlag):
            choices, end, text = flag.help.partition(">: ")
            flag.help = choices.replace("|", " | ") + end + text


def _hide(names: Mapping[str, str]) -> None:
    """Removes flags from --help; they keep their defaults."""
    for listing in (flags.FLAGS.flags_by_module_dict(), flags.FLAGS.key_flags_by_module_dict()):
        for defined in listing.values():
            defined[:] = [flag for flag in defined if flag.name not in names]


def _parse(arguments: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        fail(_explain_flags(error, pathlib.Path(arguments[0]).stem), 2)
    except SystemExit:  # after --help, with absl's status 1
        sys.exit(0)
    if rest[1:]:
        fail(
            f"unexpected argument {rest[1]!r}: every option is a flag, --name=value; --help lists them",
            2,
        )
    _refuse_empty()
    _expand_home()
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.FATAL)  # the errors that libraries log are raised as well
    return rest


def _refuse_empty() -> None:
    """Refuses texts without a character, as of a shell's variable that is not set: for a path, they would
    be the folder that one is in.
    """
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        values = (flag.value or []) if isinstance(flag, flags.MultiFlag) else [flag.value]
        if flag.present and flag.default != "" and "" in values:
            fail(f"--{name} is empty; give a value, or omit the flag", 2)


def _expand_home() -> None:
    """Gives every flag that begins with ~, as a path may, the home folder instead: not every shell
    expands --flag=~/x. Items of lists may be paths, and NAME=PATH.
    """
    for name in flags.FLAGS:
        flag = flags.FLAGS[name]
        if flag.present and isinstance(flag.value, str):
            flag.value = _with_home(name, flag.value)
        elif flag.present and isinstance(flag.value, list):
            flag.value = [_with_home(name, item) for item in flag.value]


def _with_home(name: str, value: Any) -> Any:
    """Expands ~ and ~user at the start of a path, and of that in NAME=PATH."""
    if not isinstance(value, str):
        return value
    before, equals, path = value.rpartition("=") if "=~" in value else ("", "", value)
    expanded = os.path.expanduser(path)  # noqa: PTH111  # which leaves an unknown ~user as it is
    if expanded == path and re.match(r"~(/|$)", path):
        fail(f"--{name}={value}: this user has no home folder; give the path without ~", 2)
    return before + equals + expanded


def new_spelling(script: str, name: str) -> str:
    """Returns what a script's flag is called today, for a name that an earlier version kept."""
    return OLD_SPELLINGS[script].get(name, name).removeprefix("--")


def _explain_flags(error: flags.Error, script: str) -> str:
    """Formats an error about flags as one line."""
    if isinstance(error, flags.UnrecognizedFlagError):
        new = OLD_SPELLINGS.get(script, {}).get(error.flagname.partition("=")[0])
        if new:
            return f"--{error.flagname} is now {new}; write that instead, --help lists the flags"
    missing = re.findall(r"Flag (--\w+) must have a value other than None", str(error))
    reason = f"{', '.join(missing)} must be given" if missing else str(error).rstrip(".")
    return f"{reason}; --help lists the flags"


def _print_unraisable(unraisable: Any) -> None:
    """Prints an exception that nobody caught, as Python does, except those of the storage library after
    a read or write that failed: its threads report to an event loop that is closed, and the reads of
    other arrays fail too.
    """
    code = getattr(unraisable.object, "cr_code", None)
    if "orbax" in getattr(code, "co_filename", ""):
        return
    if str(unraisable.exc_value) != "Event loop is closed":
        streams.print_unraisable(unraisable)


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints as a note what the library warns of: letters that no font has. Others as Python does."""
    if issubclass(category, UnicodeWarning):
        note(str(message))
    else:
        _SHOW_WARNING(message, category, filename, lineno, file, line)


def _guarded(main: Callable[[], None]) -> None:
    sys.unraisablehook = _print_unraisable
    warnings.showwarning = _print_warning
    _keep_compiled()
    try:
        main()
    except KeyboardInterrupt:
        fail(streams.INTERRUPTED, 130)
    except Exception as error:
        if streams.reader_left(error):
            raise
        line = explain(error)
        if line is None:
            raise
        logging.debug("raised here", exc_info=True)
        fail(line, 1)


def _keep_compiled() -> None:
    """Keeps compiled functions between runs, where there is a folder for them."""
    folder, why = os.environ.get("JAX_COMPILATION_CACHE_DIR"), None
    if folder is None:
        folder = str(compilation_cache() or "")
        why = None if folder else "this user has no home folder"
    if folder and "://" not in folder and not _can_write(pathlib.Path(folder)):
        folder, why = "", f"{folder} cannot be written to"
    if why:
        print(
            f"note: compiled functions are not kept, {why}; name a folder with "
            "JAX_COMPILATION_CACHE_DIR for a faster start",
            file=sys.stderr,
        )
    jax.config.update("jax_compilation_cache_dir", folder or None)
    # A script compiles some 70 functions, most of them small: together they cost more than the large.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _can_write(folder: pathlib.Path) -> bool:
    """Returns whether files can be written into a folder, which is made if absent."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK | os.X_OK)


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


def compilation_cache() -> pathlib.Path | None:
    """Returns the folder that compiled functions are kept in between runs; None where the user has no
    home folder.
    """
    caches = user_cache()
    return caches and caches / "compiled"


def explain(error: BaseException) -> str | None:
    """Formats an error for the person at the terminal; None for one that is a fault of the program."""
    if isinstance(error, (RuntimeError, AssertionError)):
        return _explain_runtime(error)
    if isinstance(error, ImportError):
        return streams.missing_package(error) or str(error)
    if not isinstance(error, (ValueError, OSError, FloatingPointError)):
        return None
    if not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    line = f"{error.filename or 'the output'}: {error.strerror}"
    if error.strerror != os.strerror(error.errno):  # our own message, which says what to do
        return line
    if error.errno == errno.ENOENT and error.filename and _in_a_folder(error.filename):
        return f"{line}; name a file that is there"  # to write one, its folder is all that it takes
    return f"{line}; {_REMEDIES.get(error.errno, 'choose another place')}"


def _in_a_folder(path: Any) -> bool:
    """Returns whether the folder that a path lies in exists."""
    return isinstance(path, (str, os.PathLike)) and pathlib.Path(path).absolute().parent.is_dir()


def _explain_runtime(error: BaseException) -> str | None:
    """Formats what JAX raises over a device that is full or absent."""
    text = str(error)
    if text.startswith("RESOURCE_EXHAUSTED"):
        return (
            f"the device's memory is exhausted ({text}); lower --batch_size, or raise --accumulate "
            "where there is one"
        )
    # Without a plugin for what is named, JAX fails in an assertion.
    unavailable = isinstance(error, AssertionError) and _raised_in(error) == "jax._src.xla_bridge"
    if unavailable or re.match("Unable to initialize backend|Unknown backend", text):
        return (
            f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')} cannot be used here "
            f"({text or 'no such device'}); unset it, set JAX_PLATFORMS=cpu, or install the extra "
            "`cuda` or `tpu`"
        )
    return None


def _raised_in(error: BaseException) -> str:
    """Returns the name of the module that raised an error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "")
