"""ratings.csv -> the mean rating of each pair of sketch and image."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable
from typing import Literal

from data_builders.faults import BadFile
from data_builders.sources import SourceFile

Orientation = Literal["high_is_good", "low_is_good"]
HEADER = ["sketch", "image", "rating"]


@dataclasses.dataclass(frozen=True)
class Rating:
    """How well an image matches a sketch.

    Attributes:
      value: the higher, the better; None where the file has no number.
      where: the line, for messages.
    """

    value: float | None
    where: str


def read_ratings(
    file: SourceFile, orientation: Orientation, skip: Callable[[BadFile], None]
) -> dict[tuple[str, str], Rating]:
    """Reads {(sketch, image): rating} in the order of the lines.

    Args:
      file: ratings.csv.
      orientation: what its numbers mean. Where low is good they change sign, which keeps their
        order, the other way round, and every tie.
      skip: what is done with a line that is wrong.

    Raises:
      ValueError: when it is not a table with the columns of `HEADER`.
    """
    ratings: dict[tuple[str, str], Rating] = {}
    lines = csv.reader(io.StringIO(file.read_text(), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        if header != HEADER:
            raise BadFile(
                file.where,
                f"its first line is {','.join(header)!r}, not {','.join(HEADER)!r}",
                "write it as the builder's README says",
            )
        for fields in lines:
            if any(field.strip() for field in fields):
                where = f"{file.where} line {lines.line_num}"
                _add(ratings, [field.strip() for field in fields], where, orientation, skip)
    except csv.Error as error:
        raise BadFile(f"{file.where} line {lines.line_num}", f"not CSV ({error})") from error
    return ratings


def _add(
    ratings: dict[tuple[str, str], Rating],
    fields: list[str],
    where: str,
    orientation: Orientation,
    skip: Callable[[BadFile], None],
) -> None:
    """Adds one line."""
    if len(fields) != len(HEADER):
        skip(BadFile(where, f"has not {len(HEADER)} columns", "repair or remove the line"))
        return
    sketch, image, text = fields
    if (sketch, image) in ratings:
        first = ratings[sketch, image].where
        skip(BadFile(where, "rates a pair again", f"leave this line or {first}"))
        return
    value = _number(text)
    if value is None:
        skip(BadFile(where, "its rating is not a number", f"write a number for {text!r}"))
    elif orientation == "low_is_good":
        value = 0.0 - value  # not -value, which would make -0.0 of 0.0
    ratings[sketch, image] = Rating(value, where)


def _number(text: str) -> float | None:
    """Reads a finite decimal number; Python's own "1_0", "nan" and "inf" are none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None
