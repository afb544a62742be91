"""What happens when a file of a source is broken: stop, or skip it and count it."""

import collections
import dataclasses
import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

from dsf_jax.data.picture_folders import is_utf8

OnError = Literal["raise", "skip"]
_SHOWN = 5  # files named in a summary; all of them would fill the screen

# These say that the machine is in trouble, not the file: skipping would only hide it.
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}


class BadFile(ValueError):
    """One file of the source that cannot be used; builders raise it for whatever is wrong with one."""

    def __init__(self, where: str, reason: str, remedy: str = "repair or remove it") -> None:
        """Takes the parts of the message.

        Args:
          where: the file, as `SourceFile.where` has it.
          reason: what is wrong, where possible without names or numbers that only this file has:
            skipped files are counted by it.
          remedy: what to do about it.
        """
        super().__init__(where, reason, remedy)  # what it is pickled as, on its way from a worker
        self.where, self.reason, self.remedy = where, reason, remedy

    def __str__(self) -> str:
        """Returns one line."""
        return f"{self.where}: {self.reason}; {self.remedy}"


Skip = Callable[[BadFile], None]  # what is done with a file that cannot be used: stop, or count it


class Example(Protocol):
    """What the per-example function of a builder works on: small and picklable."""

    @property
    def key(self) -> str:
        """Unique within the data set."""

    @property
    def where(self) -> str:
        """The file, for messages."""


ExampleT = TypeVar("ExampleT", bound=Example)


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[ExampleT]):
    """What came of one example: its record, or what is wrong with it."""

    example: ExampleT
    record: dict[str, Any] | None
    fault: BadFile | None


@dataclasses.dataclass(frozen=True)
class Attempt(Generic[ExampleT]):
    """A per-example function under a policy: itself a pure, picklable function.

    Attributes:
      make: example -> record; raises ValueError or OSError for a file that cannot be used.
      on_error: "raise" lets the error pass; "skip" returns it.
    """

    make: Callable[[ExampleT], dict[str, Any]]
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        """Checks the policy's name."""
        if self.on_error not in get_args(OnError):
            raise ValueError(
                f"on_error={self.on_error!r} is unknown; choose one of {', '.join(get_args(OnError))}"
            )

    def __call__(self, example: ExampleT) -> Outcome[ExampleT]:
        """Makes the record of one example, or says what is wrong with it."""
        try:
            return Outcome(example, self.make(example), None)
        except (ValueError, OSError) as error:
            if self.on_error == "raise" or getattr(error, "errno", None) in _MACHINE:
                raise
            return Outcome(example, None, _as_bad_file(error, example.where))


class Skipped:
    """Counts what was skipped, by reason, and formats the summary."""

    def __init__(self) -> None:
        """Starts with nothing skipped."""
        self._files: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, fault: BadFile) -> None:
        """Counts one file."""
        self._files[fault.reason].append(fault.where)

    @property
    def counts(self) -> dict[str, int]:
        """Number of skipped files by reason, most frequent first."""
        by_count = sorted(self._files.items(), key=lambda item: (-len(item[1]), item[0]))
        return {reason: len(files) for reason, files in by_count}

    def __len__(self) -> int:
        """Returns the number of skipped files."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        """Returns "skipped 3 files: 2 not a picture (a.png, b.png); 1 ...", or "" for none."""
        if not self._files:
            return ""
        reasons = []
        for reason, count in self.counts.items():
            named = ", ".join(self._files[reason][:_SHOWN])
            more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
            reasons.append(f"{count} {reason} ({named}{more})")
        files = "file" if len(self) == 1 else "files"
        return f"skipped {len(self)} {files}: {'; '.join(reasons)}"


def without_repeats(
    examples: Iterable[ExampleT], *, on_error: OnError, skipped: Skipped
) -> list[ExampleT]:
    """Returns the examples, each key once.

    Args:
      examples: the examples in order; of two with the same key, the first stays.
      on_error: whether a repeated key stops the build or is counted.
      skipped: counts them.

    Raises:
      BadFile: for a repeated key when `on_error` is "raise"; names both files.
    """
    first: dict[str, ExampleT] = {}
    for example in examples:
        if (other := first.setdefault(example.key, example)) is example:
            continue
        if on_error == "raise":
            raise BadFile(
                example.where,
                f"has the same id {example.key!r} as {other.where}",
                "rename or remove one of them",
            )
        skipped.add(BadFile(example.where, "same id as another file"))
    return list(first.values())


def unique_in_splits(
    splits: Mapping[str, Sequence[Any]], on_error: OnError, skipped: Skipped
) -> dict[str, list[Any]]:
    """Drops repeated keys, over all splits; see `without_repeats`."""
    pairs = [_InSplit(split, example) for split, examples in splits.items() for example in examples]
    kept: dict[str, list[Any]] = {split: [] for split in splits}
    for pair in without_repeats(pairs, on_error=on_error, skipped=skipped):
        kept[pair.split].append(pair.example)
    return kept


@dataclasses.dataclass(frozen=True)
class _InSplit:
    """An example and the split that it belongs to."""

    split: str
    example: Any

    @property
    def key(self) -> str:
        return self.example.key

    @property
    def where(self) -> str:
        return self.example.where


def check_classes(class_names: Sequence[str], where: str) -> None:
    """Raises ValueError unless there are classes, each named once, in UTF-8 and on one line."""
    if not class_names:
        raise ValueError(f"{where}: no class found; name a folder with one folder per class")
    for name, count in collections.Counter(class_names).items():
        if count > 1 or not name.strip() or len(name.splitlines()) > 1 or not is_utf8(name):
            raise ValueError(
                f"{where}: class name {name!r} is repeated, empty, longer than a line or not UTF-8; rename it"
            )


def _as_bad_file(error: ValueError | OSError, where: str) -> BadFile:
    """Turns any error about one file into a BadFile."""
    if isinstance(error, BadFile):
        return error
    if isinstance(error, OSError) and error.strerror:
        return BadFile(where, error.strerror.lower())
    return BadFile(where, " ".join(str(error).replace(where, "").split()).strip(": "))
