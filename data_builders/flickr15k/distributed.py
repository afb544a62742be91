"""Flickr15K's own layout: a groundtruth that lists the photos of each class, and sketches by person.

groundtruth                  lines "NUMBER FOLDER/NAME.jpg": a photo that shows class NUMBER
330sketches/PERSON/NUMBER.png
FOLDER/NAME.jpg
"""

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from data_builders.builder import FileExample
from data_builders.faults import BadFile, Skip
from data_builders.sources import SourceFile, below

GROUND_TRUTH, SKETCHES = "groundtruth", "330sketches"
LISTS = (GROUND_TRUTH, f"{GROUND_TRUTH}.txt")
_Entry = tuple[int, SourceFile]  # a class's number and a photo that shows it


def ground_truth(files: Iterable[SourceFile], source: Path) -> SourceFile | None:
    """Returns the list of a source in Flickr15K's own layout; None in another layout.

    Raises:
      ValueError: when there are several.
    """
    found = [file for file in files if file.path.name.lower() in LISTS]
    if len(found) > 1:
        raise ValueError(
            f"{source} holds {len(found)} files {GROUND_TRUTH} ({found[0].name}, {found[1].name}); "
            "leave one"
        )
    return found[0] if found else None


def examples_of(
    files: Sequence[SourceFile], listed: SourceFile, skip: Skip, note: Skip
) -> dict[str, dict[str, list[FileExample]]]:
    """Joins the list with the photos and sketches.

    Args:
      files: files of the source.
      listed: the groundtruth.
      skip: what is done with a line or file that is wrong.
      note: what is done with photos that no line lists.

    Returns:
      {"sketch": {class name: examples}, "photo": {...}}. A class is named after the folder of its
      photos; see `_class_names`. A photo of several classes is an example of each.

    Raises:
      BadFile: when a line is no class number and path.
    """
    pictures = [file for file in files if file is not listed]
    sketches = below(pictures, SKETCHES)
    drawn = {file.where for file in sketches}
    root = listed.name.removesuffix(listed.path.name)
    photos = {file.name.removeprefix(root): file for file in pictures if file.where not in drawn}
    entries = _entries(listed, photos, skip)
    shown = {file.where for _, file in entries}
    for file in photos.values():
        if file.where not in shown:
            note(BadFile(file.where, f"in no line of {GROUND_TRUTH}"))
    names = _class_names(entries)
    return {"sketch": _sketches(sketches, names, skip), "photo": _photos(entries, names)}


def _entries(listed: SourceFile, photos: Mapping[str, SourceFile], skip: Skip) -> list[_Entry]:
    """Reads the lines, each once."""
    entries: dict[tuple[int, str], _Entry] = {}
    for row, line in enumerate(listed.read_text().splitlines(), 1):
        where = f"{listed.where} line {row}"
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)[\s,;]+(\S.*?)\s*", line)
        if not match:
            raise BadFile(where, "is no class number and path of a photo", "correct the line")
        number, name = int(match[1]), match[2].replace("\\", "/").removeprefix("./")
        if name not in photos:
            skip(
                BadFile(where, "lists a photo that is not there", f"add {name} or remove the line")
            )
        elif (number, name) in entries:
            skip(BadFile(where, "lists a photo again", "remove the line"))
        else:
            entries[number, name] = number, photos[name]
    return list(entries.values())


def _class_names(entries: Iterable[_Entry]) -> dict[int, str]:
    """Names each class after the folders of its photos, "arch" or "bridge+tower"; where classes share
    that name, the number follows: "bridge 7".
    """
    folders: dict[int, dict[str, None]] = collections.defaultdict(dict)
    for number, file in entries:
        folders[number][file.path.parent.name] = None
    names = {number: "+".join(sorted(own)) for number, own in folders.items()}
    common = collections.Counter(names.values())
    return {
        number: name if name and common[name] == 1 else f"{name} {number}".strip()
        for number, name in sorted(names.items())
    }


def _photos(entries: Iterable[_Entry], names: Mapping[int, str]) -> dict[str, list[FileExample]]:
    photos: dict[str, list[FileExample]] = collections.defaultdict(list)
    for number, file in entries:
        name, folder = names[number], file.path.parent.name
        key = f"{name}/{'' if folder == name else f'{folder}/'}{file.path.name}"
        photos[name].append(FileExample(key, name, file))
    return dict(photos)


def _sketches(
    files: Iterable[SourceFile], names: Mapping[int, str], skip: Skip
) -> dict[str, list[FileExample]]:
    """Makes PERSON/NUMBER.png an example of the class NUMBER, keyed CLASS/PERSON/NUMBER.png."""
    sketches: dict[str, list[FileExample]] = collections.defaultdict(list)
    for file in files:
        stem = file.path.stem
        if not stem.isdecimal():
            skip(
                BadFile(file.where, "a sketch must be called PERSON/NUMBER", "rename or remove it")
            )
        elif int(stem) not in names:
            skip(BadFile(file.where, f"no photo of its class is in {GROUND_TRUTH}"))
        else:
            name = names[int(stem)]
            sketches[name].append(FileExample(f"{name}/{file.name}", name, file))
    return dict(sketches)
