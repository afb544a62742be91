"""Cutting a data set: stratified by class, from a seed, and the same on every machine."""

import hashlib
from collections.abc import Mapping, Sequence

from data_builders.faults import ExampleT


def shuffled(examples: Sequence[ExampleT], seed: int) -> list[ExampleT]:
    """Orders examples by the SHA-256 of "SEED:KEY".

    Each key's place depends only on that key: neither the order of files nor the machine moves it,
    and an example more or less moves others by one place at most.
    """
    return sorted(
        examples,
        key=lambda example: hashlib.sha256(_encoded(f"{seed}:{example.key}")).digest(),
    )


def _encoded(key: str) -> bytes:
    return key.encode(errors="surrogatepass")  # file names that are not UTF-8 are refused later


def train_and_test(
    classes: Mapping[str, Sequence[ExampleT]], *, test_share: float, seed: int
) -> dict[str, list[ExampleT]]:
    """Cuts off a fraction of every class for testing.

    Args:
      classes: {class name: its examples}.
      test_share: fraction for testing, in [0, 1). Of n examples of a class round(test_share * n) are for testing, but at
        least one, and never the last one left: a class with one example is for training.
      seed: seed of the draw (`shuffled`).

    Returns:
      {"train": examples, "test": examples}, each in the given order; "test" is empty for a
      fraction of 0.

    Raises:
      ValueError: for a fraction outside [0, 1).
    """
    if not 0.0 <= test_share < 1.0:
        raise ValueError(f"test_share={test_share} must be at least 0 and less than 1")
    cut: dict[str, list[ExampleT]] = {"train": [], "test": []}
    for examples in classes.values():
        distinct = list({example.key: example for example in examples}.values())
        count = 0
        if test_share > 0.0:
            count = min(max(round(test_share * len(distinct)), 1), len(distinct) - 1)
        testing = {example.key for example in shuffled(distinct, seed)[:count]}
        for example in examples:
            cut["test" if example.key in testing else "train"].append(example)
    return cut
