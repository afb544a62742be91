"""Results in a folder, each made once and kept; and what their configurations say of data."""

import hashlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dsf_jax.data.class_maps import ClassMap
from dsf_jax.data.files import directory_lock
from dsf_jax.data.records import Records
from dsf_jax.evaluation.results import ResultRecord, read_result, write_result

METHOD = 3  # raised when a change of the code changes results: those made before are made again


def stored(
    folder: pathlib.Path | None,
    wanted: Mapping[str, Mapping[str, Any]],
    make: Callable[[pathlib.Path], Mapping[str, ResultRecord]],
) -> dict[str, ResultRecord]:
    """Reads results from a folder or, where one is missing, makes them and writes them there.

    Args:
      folder: folder of results, each in a file of its own that is never overwritten: its name ends in
        a digest of its configuration. None keeps nothing.
      wanted: {name: configuration}; everything that the results depend on.
      make: function that makes all of them, {name: result}; its argument is a folder for what memory
        need not hold, and for what it wants to find there when it is killed and called again. The
        folder is removed in the end.

    Returns:
      {name: result}.

    Raises:
      OSError: when another process is making the same results.
      ValueError: when a file is damaged or holds the result of another configuration.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="dsf_jax_") as name:
            return dict(make(pathlib.Path(name)))
    paths = {
        name: folder
        / f"{name.replace('/', '-').replace(' ', '_')}-{_digest_of(configuration)}.json"
        for name, configuration in wanted.items()
    }
    if not all(path.exists() for path in paths.values()):
        progress = folder / "progress" / _digest_of(wanted)
        with directory_lock(progress):
            made = make(progress)
            for name, path in paths.items():
                if not path.exists():
                    write_result(path, made[name])
            shutil.rmtree(progress, ignore_errors=True)
    return {name: _read(path, wanted[name]) for name, path in paths.items()}


def _read(path: pathlib.Path, configuration: Mapping[str, Any]) -> ResultRecord:
    """Reads a result that must be of a configuration."""
    result = read_result(path)
    differing = [
        key for key, value in configuration.items() if result.configuration.get(key) != value
    ]
    if differing:
        raise ValueError(
            f"{path} is the result of another {' and '.join(differing)}; "
            "move it elsewhere, and it is made again"
        )
    return result


def data_identity(sets: Sequence[Records]) -> list[dict[str, Any]]:
    """Describes data sets for a result's configuration; sets of other content differ."""
    return [
        {
            "name": records.name,
            "version": records.folder.name,
            "split": records.split,
            "records": len(records),
            "digest": records.digest,
        }
        for records in sets
    ]


def _digest_of(value: Any) -> str:
    """Digests JSON values: equal values have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def map_identity(class_map: ClassMap | None) -> str | None:
    """Describes a class map for a result's configuration."""
    return _digest_of(class_map) if class_map else None
