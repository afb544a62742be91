"""Checks that the processes of a run were started alike: trained together, they would go apart
without a word, or wait for one another for ever.
"""

import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

_SHOWN = 60  # characters of a value in a message


def check_agreement(described: Mapping[str, Any]) -> None:
    """Compares what the processes of a run were started with; all call it together.

    Args:
      described: names and values of this process, which JSON takes.

    Raises:
      ValueError: on all processes, naming what differs, with both values.
    """
    if jax.process_count() == 1:
        return
    first, *others = _gather(json.loads(json.dumps(described, default=str)))
    differing = {}
    for number, other in enumerate(others, start=1):
        for name in sorted(first.keys() | other.keys()):
            if first.get(name) != other.get(name) and name not in differing:
                one, two = shortened(first.get(name), other.get(name))
                differing[name] = f"{name} is {one} in process 0 and {two} in process {number}"
    if differing:
        raise ValueError(
            f"the processes of this run differ: {'; '.join(differing.values())}; start all of them "
            "with the same flags and data"
        )


def _gather(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what each process describes."""
    text = np.frombuffer(json.dumps(described).encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.int32(len(text))))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = text
    texts = np.reshape(multihost_utils.process_allgather(padded), (len(sizes), -1))
    return [json.loads(row[:n].tobytes()) for row, n in zip(texts, sizes, strict=True)]


def shortened(one: Any, two: Any) -> tuple[str, str]:
    """Formats two different values, cut around the first difference where they are long."""
    texts = repr(one), repr(two)
    pairs = enumerate(zip(*texts, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(map(len, texts)))
    start = 0 if max(map(len, texts)) <= _SHOWN else max(0, same - _SHOWN // 3)

    def cut(text: str) -> str:
        end = start + _SHOWN
        return f"{'...' * (start > 0)}{text[start:end]}{'...' * (end < len(text))}"

    return cut(texts[0]), cut(texts[1])
