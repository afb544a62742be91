"""Letters of any script: the fonts that have them, and what stands for those that none has."""

import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.text import Text

from dsf_jax.insight import lettering
from dsf_jax.insight.plots import contact_sheet, png_bytes, retrieval_curves, short, voted_views

SERIF = font_manager.findfont("DejaVu Serif")


@pytest.fixture
def fonts(monkeypatch):
    """Fonts that are made up: one has Chinese letters, one is no font of text."""
    letters = {"/cjk.ttc": frozenset("猫犬"), "/boxes.ttf": frozenset("𓀀猫")}
    real = lettering._letters
    monkeypatch.setattr(lettering, "_letters", lambda path: letters.get(path) or real(path))

    def install(*entries):
        listed = [
            font_manager.FontEntry(fname=path, name=name, style=style)
            for name, path, style in entries
        ]
        own = [entry for entry in font_manager.fontManager.ttflist if entry.name == lettering.OWN]
        monkeypatch.setattr(font_manager.fontManager, "ttflist", own + listed)

    return install


def test_letters_that_the_own_font_has_need_no_other(fonts):
    fonts()
    for text in ("cat", "Füße…", "кошка", "γάτα", "مكتب", "x\u200dy\ufe0f z\n"):
        assert lettering.fonts_for(text) == ((lettering.OWN,), frozenset())
        assert lettering.drawable(text) == text


def test_others_come_from_a_font_of_the_machine_that_has_them(fonts):
    fonts(
        ("Z Sans CJK", "/cjk.ttc", "normal"),
        ("A Sans CJK", "/cjk.ttc", "italic"),
        ("Last Resort High-Efficiency", "/boxes.ttf", "normal"),
    )
    assert lettering.fonts_for("a 猫") == ((lettering.OWN, "Z Sans CJK"), frozenset())
    assert lettering.drawable("a 猫") == "a 猫"
    assert lettering.fonts_for("𓀀") == ((lettering.OWN,), frozenset("𓀀"))


def test_what_no_font_has_is_replaced_and_said(fonts):
    fonts()
    with pytest.warns(
        UnicodeWarning, match=r"all letters of '黒猫A': the figure shows 'U\+9ED2 U\+732B A'"
    ):
        assert lettering.drawable("黒猫A") == "U+9ED2 U+732B A"
    with pytest.warns(UnicodeWarning, match="install a font"):
        assert lettering.drawable("Ａ猫") == "A U+732B"  # a wide letter is a letter
    with pytest.warns(UnicodeWarning):
        assert lettering.drawable("of 猫, é猫") == "of U+732B, é U+732B"
    with pytest.warns(UnicodeWarning):
        assert short("猫" * 20) == "U+732B U+732B U+7…"
    with pytest.warns(UnicodeWarning):
        assert short("$猫") == r"\$U+732B"


def test_every_text_of_a_figure_gets_the_fonts(monkeypatch):
    """Here a font that is there has more than the own one."""
    entry = font_manager.FontEntry(fname=SERIF, name="DejaVu Serif", style="normal")
    own = lettering._letters(lettering._path_of_own())
    real = lettering._letters
    monkeypatch.setattr(
        lettering, "_letters", lambda path: real(path) if path == SERIF else own - set("ж")
    )
    monkeypatch.setattr(lettering, "_installed", lambda: [(entry.name, entry.fname)])
    figure = voted_views(
        np.zeros((18, 9, 9), np.uint8), np.full((18, 2), 0.5), ["жук", "cat"], title="жук"
    )
    png_bytes(figure)
    texts = [text for text in figure.findobj(Text) if "ж" in text.get_text()]
    assert len(texts) >= 1 + 18 + 1  # the title, the views, the bar
    assert all(text.get_fontfamily() == [lettering.OWN, "DejaVu Serif"] for text in texts)


def test_figures_of_names_that_no_font_has_are_drawn_without_another_warning(fonts):
    fonts()
    curves = {"猫": {"犬": [(1, 0.5, 0.5, 0.5)]}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnicodeWarning)
        figure = retrieval_curves(curves, score="AP")
        sheet = contact_sheet([np.zeros((4, 4), np.uint8)], ["猫"], title="猫")
    (axes,) = figure.axes
    assert axes.get_title() == "U+72AC"
    # An interval without a width is said.
    assert axes.get_legend().get_texts()[0].get_text() == "U+732B (no interval)"
    assert len(png_bytes(figure)) > 1000 and len(png_bytes(sheet)) > 500
