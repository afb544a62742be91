"""What launch scripts share: flags from configuration fields, flags of several scripts, and errors as
one line.

A flag that several scripts have is defined here once, by `define_NAME`: it means the same thing
everywhere, and has one help text.
"""

import ast
import contextlib
import dataclasses
import errno
import inspect
import os
import pathlib
import re
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import jax
from absl import app, flags, logging

from dsf_jax.data.unseen import UNSEEN
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.backbones import BACKBONES, FAMILIES
from dsf_jax.models.model import Model
from dsf_jax.training.checkpoints import load_model
from launch import streams

Config = TypeVar("Config")
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
    errno.ENOENT: "neither is its folder: name a file that is there, or, for one to write, make the folder",
    errno.ENOSPC: "free some and run the command again",
}


def field_help(config: type[Any]) -> dict[str, str]:
    """Reads what a dataclass's docstring says of each attribute, in its `Attributes:` section."""
    section = _docstring(config).partition("Attributes:")[2]
    entries = re.findall(r"^  (\w+): (.*?)(?=^  \w+: |\Z)", section, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _docstring(config: type[Any]) -> str:
    """Returns a class's docstring; from its source, where Python drops docstrings (-OO)."""
    if sys.flags.optimize < 2:
        return inspect.getdoc(config) or ""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    return ast.get_docstring(cast(ast.ClassDef, node)) or ""


def _keep_purpose() -> None:
    """Gives the script the docstring that --help begins with, where Python has dropped it (-OO)."""
    script = sys.modules["__main__"]
    if sys.flags.optimize >= 2 and script.__file__:
        source = pathlib.Path(script.__file__).read_text(encoding="utf-8")
        script.__doc__ = ast.get_docstring(ast.parse(source))


def define_flags(config: type[Any]) -> None:
    """Defines one absl flag per field of a dataclass, the only place of name, default and help."""
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


def define_checkpoint(
    default: str | None = None, *, required: bool = True
) -> flags.FlagHolder[str]:
    """Defines --checkpoint, the model that a script uses."""
    text = "Run or checkpoint folder; FOLDER:best, FOLDER:STEP."
    return cast(
        flags.FlagHolder[str],
        flags.DEFINE_string("checkpoint", default, text, required=required and default is None),
    )


def define_backbone(default: str | None = CAFFE.name) -> flags.FlagHolder[str]:
    """Defines --backbone, the architecture of a network that is made."""
    text = (
        "Architecture of a network that starts from random values or from another's weight file; "
        f"{CAFFE.name} unless the weights say it themselves, as a folder of the Hugging Face hub does."
    )
    names = [*BACKBONES, *FAMILIES]
    return cast(flags.FlagHolder[str], flags.DEFINE_enum("backbone", default, names, text))


def define_data_dir() -> flags.FlagHolder[str]:
    """Defines --data_dir."""
    return flags.DEFINE_string("data_dir", "data", "Folder of prepared records.")


def define_datasets(*, required: bool = True) -> flags.FlagHolder[list[str]]:
    """Defines --datasets, prepared data sets of any domain."""
    text = "Prepared data sets, each of one domain, as NAME or NAME:SPLIT."
    return cast(
        flags.FlagHolder[list[str]],
        flags.DEFINE_list("datasets", None, text, required=required),
    )


def define_sketches(default: Sequence[str] = ("openmoji/sketch",)) -> flags.FlagHolder[list[str]]:
    """Defines --sketches, prepared data sets of drawings; refused when empty."""
    return _define_sets("sketches", default, "Prepared data sets of sketches, NAME or NAME:SPLIT.")


def define_photo_sets(
    default: Sequence[str] = ("openmoji/photo",),
) -> flags.FlagHolder[list[str]]:
    """Defines --photo_sets, prepared data sets of photos; refused when empty."""
    return _define_sets("photo_sets", default, "Prepared data sets of photos, NAME or NAME:SPLIT.")


def define_split(default: str | None) -> flags.FlagHolder[str]:
    """Defines --split."""
    text = "Split of data sets named without one."
    return cast(flags.FlagHolder[str], flags.DEFINE_string("split", default, text))


def define_class_map() -> flags.FlagHolder[str | None]:
    """Defines --class_map."""
    return flags.DEFINE_string(
        "class_map",
        None,
        'JSON file of synonyms: {"class": {"data set": ["its names of it"]}}, '
        "a data set being what stands before the / of its name: sketchy, edge_maps.",
    )


def define_classes() -> flags.FlagHolder[str | None]:
    """Defines --classes."""
    return flags.DEFINE_string(
        "classes",
        None,
        "File of class names, one per line; records of others are omitted. By default the classes "
        "that the sketches show.",
    )


def define_unseen(text: str) -> flags.FlagHolder[str | None]:
    """Defines --unseen, classes that zero-shot retrieval keeps from training; `text` describes their use."""
    return flags.DEFINE_string(
        "unseen",
        None,
        f"Classes of zero-shot retrieval, {text}: {', '.join(UNSEEN)} (dsf_jax/data/unseen.py has their "
        "sources), or a file of one class per line.",
    )


def define_generalised() -> flags.FlagHolder[bool]:
    """Defines --generalised, which needs --unseen."""
    text = "With --unseen, retrieve among the photos of all classes."
    flag = flags.DEFINE_bool("generalised", False, text)
    flags.register_multi_flags_validator(
        ["generalised", "unseen"],
        lambda values: not values["generalised"] or values["unseen"],
        "--generalised needs --unseen; give it",
    )
    return flag


def define_layer() -> flags.FlagHolder[str | None]:
    """Defines --layer, one feature."""
    return flags.DEFINE_string(
        "layer",
        None,
        "Feature that is compared, L6+L7 or the like; by default the gallery's, or the one that was best on held-out data.",
    )


def define_layers() -> flags.FlagHolder[list[str] | None]:
    """Defines --layers, several features."""
    return flags.DEFINE_list(
        "layers",
        None,
        "Features to compute, L6,L7 or the like; by default those that are compared.",
    )


def define_photos(*, required: bool = True) -> flags.FlagHolder[str]:
    """Defines --photos, picture files that are not prepared."""
    return cast(
        flags.FlagHolder[str],
        flags.DEFINE_string("photos", None, "Folder of pictures.", required=required),
    )


def define_source(text: str, *, required: bool = True) -> flags.FlagHolder[str]:
    """Defines --source, what a script converts; `text` describes the forms that it takes."""
    return cast(
        flags.FlagHolder[str],
        flags.DEFINE_string("source", None, f"What is converted: {text}", required=required),
    )


def define_gallery(*, required: bool = True) -> flags.FlagHolder[str]:
    """Defines --gallery."""
    text = "Folder of a gallery of launch.index, or what LanceDB takes: s3://BUCKET/PATH."
    return cast(
        flags.FlagHolder[str], flags.DEFINE_string("gallery", None, text, required=required)
    )


def define_top() -> flags.FlagHolder[int]:
    """Defines --top."""
    return flags.DEFINE_integer("top", 10, "Number of results per query.", lower_bound=1)


def define_batch_size() -> flags.FlagHolder[int]:
    """Defines --batch_size."""
    return flags.DEFINE_integer(
        "batch_size", 64, "Images that are computed at a time.", lower_bound=1
    )


def define_seed() -> flags.FlagHolder[int]:
    """Defines --seed."""
    return flags.DEFINE_integer("seed", 0, "Seed of everything that is drawn at random.")


def _define_sets(name: str, default: Sequence[str], text: str) -> flags.FlagHolder[list[str]]:
    flag = flags.DEFINE_list(name, list(default) or None, text)
    message = "is empty; name one data set at least, or omit the flag"
    flags.register_validator(name, lambda names: names is None or bool(names), message)
    return cast(flags.FlagHolder[list[str]], flag)


def note(message: str) -> None:
    """Prints one line on standard error that a person should know; the command goes on."""
    print(f"note: {' '.join(message.split())}", file=sys.stderr)


def load_told(checkpoint: str) -> Model:
    """Reads a checkpoint's model, and says on standard error what may be expected of it."""
    model = load_model(checkpoint)
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
    """Returns the value that a command line gives a flag, before flags are parsed; None for none.

    Flags must be defined before they are parsed, and which there are may depend on one of them.
    """
    found = re.search(rf"(?:^|\n)--?{flag}[=\n]([^\n]*)", "\n".join(arguments))
    return found and found[1]


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
    for flag in flags.FLAGS.flags_by_module_dict().get(__name__, []):
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
    _expand_home()
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.FATAL)  # the errors that libraries log are raised as well
    return rest


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
        sys.__unraisablehook__(unraisable)


def _guarded(main: Callable[[], None]) -> None:
    sys.unraisablehook = _print_unraisable
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
    given = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = pathlib.Path("~").expanduser() if _has_home() else None
    # Its specification has relative paths ignored.
    caches = given if given.is_absolute() else home and home / ".cache"
    return caches and caches / "dsf_jax" / "compiled"


def _has_home() -> bool:
    return os.path.expanduser("~") != "~"  # noqa: PTH111  # pathlib's raises


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
