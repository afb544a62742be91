"""The pictures of the page in docs/: what a person sees who draws an umbrella.

PICTURES=docs CHECKPOINT=runs/quickstart python -m pytest -n 0 tests/app/page_pictures_test.py

draws on the quickstart's page and writes docs/page.png and docs/page_why.png. Without these variables the
same is done on the page of the other tests, and the pictures are looked at and dropped.
"""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from dsf_jax.app.opening import open_searcher
from dsf_jax.app.server import create_app
from tests.app.browsing import Board, needs_browser
from tests.app.made import serving

pytestmark = needs_browser


def arc(x, y, wide, high, start, end):
    """Part of an ellipse, in half turns; y grows downwards."""
    turn = np.pi * np.linspace(start, end, 24)
    return np.stack([x + wide * np.cos(turn), y + high * np.sin(turn)], axis=1).tolist()


UMBRELLA = (
    [*arc(0.5, 0.48, 0.32, 0.3, 1, 2)],
    [point for x in (0.287, 0.5, 0.713) for point in arc(x, 0.48, 0.107, 0.05, 1, 2)],
    [[0.5, 0.43], [0.5, 0.76], *arc(0.446, 0.76, 0.054, 0.06, 0, 1)],
    [[0.5, 0.18], [0.5, 0.13]],
)


@pytest.fixture
def drawn_on(request):
    """The address of the page, of the quickstart where it is named."""
    if checkpoint := os.environ.get("CHECKPOINT"):
        with serving(create_app(open_searcher(checkpoint, None))) as address:
            yield address
    else:
        yield request.getfixturevalue("address")


def test_the_pictures_of_the_page(open_page, drawn_on, tmp_path):
    folder = pathlib.Path(os.environ.get("PICTURES", tmp_path))
    page = open_page(at=drawn_on)
    first, *_ = Board(page).draw(*UMBRELLA)
    page.wait_for_selector("#guesses:not([hidden])")
    page.mouse.move(2, 2)
    page.screenshot(path=folder / "page.png")
    page.click(f'[data-id="{first}"] .thumb')
    page.click("#why")
    page.wait_for_function(
        "() => ['why-query', 'why-result'].every(id => document.getElementById(id).naturalWidth > 1)"
    )
    page.mouse.move(2, 2)
    # The path beside it is the machine's own.
    page.locator("#why-sides").screenshot(path=folder / "page_why.png")
    for name in ("page", "page_why"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.width > 600 and len(image.convert("L").getcolors()) > 20
