"""The result of an evaluation, with intervals and all that it depends on: one record, one JSON file."""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dsf_jax.data.files import read_text, write_atomic
from dsf_jax.evaluation.statistics import Measure

FORMAT = 1
# Entries of the configuration in which folds may differ: another model, tested on other data.
VARYING = ("checkpoint", "data", "fold", "split")
SIZES = ("classes", "gallery")  # counts that are never added over folds


@dataclasses.dataclass(frozen=True)
class ResultRecord:
    """The result of one evaluation. A number that is not finite never enters a record.

    Attributes:
      protocol: name of the evaluation, "tu_berlin" or the like.
      numbers: what was measured, "accuracy/voting", "mAP", "P@10", "tau-b", ...
      configuration: everything that the numbers depend on, JSON values: layer, size, K, seed, data sets, ...
      counts: number of things evaluated: queries, queries_without_relevant, gallery, classes, ...
      interval: meaning of the numbers' low and high, "95 % bootstrap over queries, ..."
      details: more of the result, JSON values: accuracy per class, curves, ...
    """

    protocol: str
    numbers: dict[str, Measure]
    configuration: dict[str, Any]
    counts: dict[str, int]
    interval: str
    details: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuses what JSON cannot hold, or would hold as something else."""
        for name, measure in self.numbers.items():
            where = f"{self.protocol}: numbers[{name!r}]"
            if not all(isinstance(x, float) and math.isfinite(x) for x in measure):
                raise ValueError(
                    f"{where} is {tuple(measure)}, expected three finite floats; "
                    "leave out what has no value, and say why in the counts"
                )
            if measure.low > measure.high:
                raise ValueError(
                    f"{where} has its low {measure.low} above its high {measure.high}; swap them"
                )
        for name, count in self.counts.items():
            if type(count) is not int or count < 0:
                raise ValueError(
                    f"{self.protocol}: counts[{name!r}] is {count!r}, expected an int of at least "
                    "0; convert it with int()"
                )
        _check_json(self.configuration, f"{self.protocol}: configuration")
        _check_json(self.details, f"{self.protocol}: details")


def _check_json(value: Any, where: str) -> None:
    """Raises ValueError unless JSON gives the value back as it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError(f"{where} has the key {key!r}, expected text; convert it")
            _check_json(item, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_json(item, f"{where}[{place}]")
    elif type(value) not in (str, int, float, bool, type(None)):
        raise ValueError(
            f"{where} is a {type(value).__name__}, which JSON does not know; "
            "convert it to a dict, list, str, int, float, bool or None"
        )
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}, expected a finite number; leave it out")


def own_configuration(given: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """Joins a caller's configuration (checkpoint, data sets, layer) with a protocol's own entries.

    Raises:
      ValueError: when the caller states one of the protocol's own.
    """
    if clash := sorted(given.keys() & own.keys()):
        raise ValueError(
            f"configuration has {', '.join(clash)}, which the protocol itself states; leave it out"
        )
    return dict(given) | own


def over_folds(records: Sequence[ResultRecord]) -> ResultRecord:
    """Joins the records of a protocol's folds: mean, lowest and highest of each number; of a single
    fold, its own interval.

    Args:
      records: one per fold.

    Returns:
      A record of the folds' means, each fold with the same weight. Counts are added, unless all
      folds were tested on the same data; then, and those of `SIZES` always, they are kept where all
      folds have the same. What differs (entries of `VARYING` only) is in configuration["folds"] and
      details["folds"], in the order given.

    Raises:
      ValueError: when there is no record, or the records are not folds of one evaluation.
    """
    if not records:
        raise ValueError("there are no records to join; give one per fold")
    _check_folds(records)
    first, folds = records[0], len(records)
    numbers = {}
    for name in first.numbers:
        values = [record.numbers[name].value for record in records]
        low, high = (min(values), max(values)) if folds > 1 else first.numbers[name][1:]
        numbers[name] = Measure(min(max(math.fsum(values) / folds, low), high), low, high)
    differing = [key for key in first.configuration if _differs(records, key)]
    configuration = {k: v for k, v in first.configuration.items() if k not in differing}
    added = "data" not in configuration  # it differs between folds, or is not recorded
    if differing:
        configuration["folds"] = [{k: r.configuration[k] for k in differing} for r in records]
    return ResultRecord(
        first.protocol,
        numbers,
        configuration,
        _joined_counts([r.counts for r in records], added=added) | {"folds": folds},
        f"lowest and highest of {folds} folds" if folds > 1 else f"{first.interval}, 1 fold",
        {"folds": [_fold(record) for record in records]},
    )


def _fold(record: ResultRecord) -> dict[str, Any]:
    """Returns what a joined record keeps of a fold."""
    content = as_dict(record)
    return {name: content[name] for name in ("numbers", "interval", "counts", "details")}


def _differs(records: Sequence[ResultRecord], key: str) -> bool:
    return any(r.configuration[key] != records[0].configuration[key] for r in records)


def _check_folds(records: Sequence[ResultRecord]) -> None:
    """Raises ValueError unless the records are different folds of one evaluation."""
    first = records[0]
    for i, record in enumerate(records):
        _check_alike(first, record, i)
        for j, other in enumerate(records[:i]):
            if other.configuration == record.configuration:
                raise ValueError(
                    f"records {j} and {i} have one configuration: they are one fold; give each once"
                )


def _check_alike(first: ResultRecord, record: ResultRecord, i: int) -> None:
    """Raises ValueError unless record i differs from record 0 in `VARYING` only."""
    for what in ("numbers", "configuration", "counts"):
        theirs, ours = (sorted(getattr(r, what)) for r in (record, first))
        if theirs != ours:
            odd = ", ".join(sorted({*theirs} ^ {*ours}))
            raise ValueError(
                f"records 0 and {i} do not both have the {what} {odd}; join folds of one evaluation"
            )
    if record.protocol != first.protocol:
        raise ValueError(
            f"record {i} is of the protocol {record.protocol}, record 0 of {first.protocol}; "
            "join folds of one evaluation"
        )
    for key in first.configuration.keys() - {*VARYING}:
        if _differs([first, record], key):
            raise ValueError(
                f"record {i} has {key}={record.configuration[key]!r}, record 0 "
                f"{first.configuration[key]!r}; folds may differ in {', '.join(VARYING)} only"
            )


def _joined_counts(counts: Sequence[Mapping[str, int]], *, added: bool) -> dict[str, int]:
    sums = [name for name in counts[0] if added and name not in SIZES]
    pooled = {name: sum(c[name] for c in counts) for name in sums}
    shared = {name: {c[name] for c in counts} for name in counts[0] if name not in sums}
    return pooled | {name: sizes.pop() for name, sizes in shared.items() if len(sizes) == 1}


def as_dict(record: ResultRecord) -> dict[str, Any]:
    """Returns a record as JSON values, as `write_result` writes them."""
    content = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    numbers = {name: measure._asdict() for name, measure in record.numbers.items()}
    return {"dsf_jax_result": FORMAT} | content | {"numbers": numbers}


def write_result(path: str | os.PathLike[str], record: ResultRecord) -> None:
    """Writes a record as JSON, atomically.

    Raises:
      OSError: when the file exists, or cannot be written.
    """
    if pathlib.Path(path).exists():
        raise FileExistsError(
            f"{path} exists, and results are not overwritten; remove it or choose another"
        )
    write_atomic(path, json.dumps(as_dict(record), indent=1, ensure_ascii=False) + "\n")


def read_result(path: str | os.PathLike[str]) -> ResultRecord:
    """Reads what `write_result` wrote.

    Raises:
      OSError: when there is no such file, or it cannot be read.
      ValueError: when it is damaged, or no record.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"{path} is not a file; name a result that launch.evaluate wrote")
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not whole JSON ({reason}); make the result again") from error
    if not isinstance(content, dict) or content.pop("dsf_jax_result", None) != FORMAT:
        raise ValueError(
            f'{path} is no result record, which has "dsf_jax_result": {FORMAT}; '
            "name a result that launch.evaluate wrote"
        )
    try:
        return _record(content)
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is a damaged result ({reason}); make it again") from error


def _record(content: dict[str, Any]) -> ResultRecord:
    """Builds a record from JSON values, and raises whatever error is met first."""
    kinds = {"protocol": str, "numbers": dict, "configuration": dict, "counts": dict}
    for name, kind in (kinds | {"interval": str, "details": dict}).items():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"its {name} is missing or no {kind.__name__}")
    numbers = {name: Measure(**measure) for name, measure in content["numbers"].items()}
    return ResultRecord(**content | {"numbers": numbers})
