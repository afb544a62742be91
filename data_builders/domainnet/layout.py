"""Where the files of a domain lie in a source of DomainNet, and which split its lists put them in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.faults import BadFile
from data_builders.sources import SourceFile, below, source_files

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
SPLITS = ("train", "test")
Lists = Mapping[str, Sequence[str]]  # {split: [CLASS/FILE]}


def domain_files(source: Path, domain: str) -> tuple[list[SourceFile], list[Path]]:
    """Lists the pictures of a domain.

    Args:
      source: a folder that holds DOMAIN.zip or DOMAIN/CLASS/*, or such an archive.
      domain: one of `DOMAINS`.

    Returns:
      The pictures, named CLASS/FILE, none where the source has none of the domain; and the files and
      folders that they and the domain's lists lie in.

    Raises:
      FileNotFoundError: when there is no such source.
      ValueError: see `source_files`.
    """
    archive = source / f"{domain}.zip"
    place = archive if archive.is_file() else source
    try:
        files = below(source_files(place), domain, siblings=DOMAINS)
    except FileNotFoundError:
        if not place.exists():
            raise
        return [], []
    folder = source / domain
    if place is source and folder.is_dir():
        place = folder
    lists = [path for split in SPLITS if (path := _list(source, domain, split)).is_file()]
    return files, [place, *lists]


def read_lists(source: Path, domain: str) -> Lists:
    """Reads which pictures are for training and which for testing.

    Args:
      source: as for `domain_files`; the lists DOMAIN_train.txt and DOMAIN_test.txt lie in the folder, or
        next to the archive.
      domain: one of `DOMAINS`.

    Returns:
      {"train": [CLASS/FILE], "test": [...]}, in the order of the lists.

    Raises:
      FileNotFoundError: when one is not there.
      BadFile: for a line of another form, or a picture that is listed twice.
    """
    lists: dict[str, list[str]] = {}
    seen: dict[str, str] = {}
    for split in SPLITS:
        path = _list(source, domain, split)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is not there, which says what is for {split}; download it from where {domain}.zip "
                "comes from (data_builders/domainnet/README.md), or cut by yourself with --cut=own"
            )
        file = SourceFile(path.name, path.name, path.parent, path.name)
        lists[split] = [
            _key(line, domain, f"{file.where} line {number}", seen)
            for number, line in enumerate(file.read_text().splitlines(), 1)
            if line.strip()
        ]
    return lists


def _list(source: Path, domain: str, split: str) -> Path:
    folder = source if source.is_dir() else source.parent
    return folder / f"{domain}_{split}.txt"


def _key(line: str, domain: str, where: str, seen: dict[str, str]) -> str:
    """Reads CLASS/FILE from a line DOMAIN/CLASS/FILE LABEL."""
    path, space, label = line.strip().rpartition(" ")
    parts = path.split("/")
    if not (space and label.isdecimal() and len(parts) == 3 and parts[0] == domain):
        raise BadFile(
            where, f"not of the form {domain}/CLASS/FILE NUMBER", "download the list again"
        )
    key = "/".join(parts[1:])
    if key in seen:
        raise BadFile(where, f"the same picture as {seen[key]}", "download the list again")
    seen[key] = where
    return key
