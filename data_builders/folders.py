"""Folders of class folders -> examples: what the builders of such data sets share."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from data_builders.builder import DomainAbsent, FileExample
from data_builders.faults import Skip
from data_builders.record_images import photo_bytes
from data_builders.records_format import Record
from data_builders.sources import SourceFile, below, class_folders, source_files

SKETCHES, PHOTOS = "sketches", "photos"


def classes_of_domains(
    source: Path, skip: Skip, *, class_map: Mapping[str, str] | None = None
) -> dict[str, dict[str, list[FileExample]]]:
    """Lists the examples of a source with the folders sketches/CLASS and photos/CLASS.

    Args:
      source: a folder or archive.
      skip: see `class_folders`.
      class_map: {folder name: class name} where they differ.

    Returns:
      {"sketch": {class name: examples}, "photo": {...}}; a domain whose folder is missing is empty.
      An example's key is its path from the class folder on, "cat/2024/1.png".

    Raises:
      FileNotFoundError: when both folders are missing, or hold no picture.
      ValueError: when the map names a folder that neither domain has.
    """
    files = source_files(source)
    folders = {"sketch": SKETCHES, "photo": PHOTOS}
    class_map = class_map or {}
    files_of = {d: below(files, folder, siblings=folders.values()) for d, folder in folders.items()}
    domains = {d: examples_by_class(own, skip, class_map=class_map) for d, own in files_of.items()}
    if not any(domains.values()):
        raise FileNotFoundError(
            f"{source} holds no picture in {SKETCHES}/CLASS/ or {PHOTOS}/CLASS/; rename its folders "
            "so, or name the folder that holds these"
        )
    there = {file.path.parts[0].strip() for own in files_of.values() for file in own}
    if unknown := [folder for folder in class_map if folder not in there]:
        raise ValueError(
            f"the class map names the folder {unknown[0]!r}, which neither {SKETCHES} nor {PHOTOS} of "
            f"{source} has; correct it"
        )
    return domains


def examples_by_class(
    files: Sequence[SourceFile], skip: Skip, *, class_map: Mapping[str, str]
) -> dict[str, list[FileExample]]:
    """Makes the files below class folders into examples, keyed by path; sorted by class name.

    Args:
      files: files of one domain.
      skip: see `class_folders`.
      class_map: {folder name: class name} where they differ.
    """
    classes: dict[str, list[FileExample]] = {}
    for folder, members in class_folders(files, skip, level="first").items():
        name = class_map.get(folder, folder)
        classes.setdefault(name, []).extend(FileExample(file.name, name, file) for file in members)
    return dict(sorted(classes.items()))


def present(
    domains: Mapping[str, Mapping[str, list[FileExample]]], domain: str, source: Path
) -> Mapping[str, list[FileExample]]:
    """Returns one domain's classes.

    Raises:
      DomainAbsent: when it has none.
    """
    if not domains[domain]:
        folder = SKETCHES if domain == "sketch" else PHOTOS
        raise DomainAbsent(f"{source} has no pictures in {folder}/CLASS/")
    return domains[domain]


def photo_record(example: FileExample) -> Record:
    """Returns what a photo record holds of a file."""
    return {"image": photo_bytes(example.file.read(), example.where)}
