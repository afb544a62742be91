"""Class names in any script: fonts that have their letters, and what stands for letters that none has."""

import functools
import pathlib
import re
import unicodedata
import warnings
from collections.abc import Iterable

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

OWN = "DejaVu Sans"  # comes with matplotlib
# Families of formulas, and the one whose every letter is a box.
_NO_TEXT = ("Last Resort", "STIX", "cm", "DejaVu Math")
_UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")  # Unicode categories of what leaves no ink
_VARIANTS = range(0xFE00, 0xFE10)  # they choose a letter's form, and leave no ink either


def drawable(text: str) -> str:
    """Replaces letters that no font of this machine has by their code points, and warns.

    Args:
      text: a class's name, or any other text of a figure.

    Returns:
      The text; 猫 is U+732B where no font has it.
    """
    _, missing = fonts_for(text)
    if not missing:
        return text
    shown = re.sub(f"[{re.escape(''.join(sorted(missing)))}]+", _stand_ins, text)
    warnings.warn(
        f"no font of this machine has all letters of {text!r}: the figure shows {shown!r}; install a font "
        "that has them, Google's Noto or another",
        UnicodeWarning,
        stacklevel=2,
    )
    return shown


def choose_fonts(figure: Figure) -> None:
    """Gives every text of a figure the fonts that have its letters."""
    texts = figure.findobj(Text)
    families, _ = fonts_for("".join(text.get_text() for text in texts))
    if len(families) > 1:
        for text in texts:
            text.set_fontfamily(list(families))


def fonts_for(text: Iterable[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Chooses the fonts that a text needs.

    Args:
      text: its letters.

    Returns:
      Families, the first of them `OWN`, and the letters that no font has.
    """
    needed = {c for c in set(text) if unicodedata.category(c) not in _UNSEEN}
    needed = {c for c in needed if ord(c) not in _VARIANTS} - _letters(_path_of_own())
    families = [OWN]
    for family, path in _installed() if needed else ():
        if there := needed & _letters(path):
            families.append(family)
            needed -= there
        if not needed:
            break
    return tuple(families), frozenset(needed)


def _stand_ins(run: re.Match[str]) -> str:
    """Returns what stands for letters in a row, apart from a word before or behind them."""
    before, behind = run.string[: run.start()][-1:], run.string[run.end() :][:1]
    words = " ".join(map(_stand_in, run[0]))
    return " " * before.isalnum() + words + " " * behind.isalnum()


def _stand_in(letter: str) -> str:
    """Returns what stands for a letter: an equal one that `OWN` has, or the code point."""
    plain = unicodedata.normalize("NFKC", letter)
    return plain if set(plain) <= _letters(_path_of_own()) else f"U+{ord(letter):04X}"


@functools.cache
def _path_of_own() -> str:
    return str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))


@functools.cache
def _letters(path: str) -> frozenset[str]:
    """Returns the letters that a font has."""
    return frozenset(map(chr, FT2Font(path).get_charmap()))


def _installed() -> list[tuple[str, str]]:
    """Lists the upright fonts of text, by name: (family, file)."""
    found = {
        entry.name: entry.fname
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith((OWN, *_NO_TEXT))
    }
    return sorted(found.items())
