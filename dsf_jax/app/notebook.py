"""A widget to draw on in notebooks: strokes become what a network is shown, and the pictures of a gallery
that look most like them are shown beside the drawing.
"""

import base64
import functools
import pathlib
import re
from typing import Any

from dsf_jax.app.query import query_from_strokes
from dsf_jax.app.searcher import Searcher, SearchResult
from dsf_jax.data.drawings import Query
from dsf_jax.gallery.gallery import Gallery
from dsf_jax.images.points import CANVAS

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError(
        "anywidget, which shows widgets in notebooks, is not installed; run `pip install anywidget` or "
        "install this project's extra `notebook`"
    ) from error

STATIC = pathlib.Path(__file__).with_name("static")
BOX = (0.0, 0.0, float(CANVAS), float(CANVAS))  # the surface, in its own units
# Each stands after those that it imports.
MODULES = ("strokes.js", "drawing.js", "widget.js")


def joined_modules() -> str:
    """Returns the page's modules that the widget is made of as one: a notebook knows no folder of them."""
    text = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in MODULES)
    return re.sub(r'^import \{[^}]*\} from "\./\w+\.js";$', "", text, flags=re.MULTILINE)


class DrawingWidget(anywidget.AnyWidget):
    """A surface to draw on, in Jupyter and wherever else anywidget runs.

    Attributes:
      strokes: list of points (x, y) or (x, y, pressure) per stroke, in units of the canvas, y down;
        what is assigned to it is shown.
      results: pictures found with the drawing, nearest first; none without a searcher.

    Example in a notebook, with the quickstart's network and pictures:

      from dsf_jax.app.notebook import DrawingWidget
      from dsf_jax.app.opening import open_searcher

      widget = DrawingWidget(open_searcher("runs/quickstart", None))
      widget
    """

    _esm = joined_modules()
    _css = (STATIC / "widget.css").read_text(encoding="utf-8")
    strokes: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    _searches = traitlets.Bool().tag(sync=True)
    _found: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    _status = traitlets.Unicode().tag(sync=True)

    def __init__(self, searcher: Searcher | None = None, *, count: int = 12) -> None:
        """Makes an empty surface.

        Args:
          searcher: network and gallery that are searched whenever the pen is lifted, from `open_searcher`;
            None for drawing alone.
          count: number of pictures to find, at most.
        """
        super().__init__(_searches=searcher is not None)
        self.results: list[SearchResult] = []
        if searcher is not None:
            self.observe(functools.partial(self._search, searcher, count), "strokes")

    @property
    def drawing(self) -> Query:
        """Returns the drawing as what `sketch_features` and `Searcher.embed` take; ValueError where nothing
        is drawn yet, and as `query_from_strokes` does.
        """
        if not self.strokes:
            raise ValueError("nothing is drawn on the widget yet; draw a stroke")
        return query_from_strokes(self.strokes, BOX)

    def _search(self, searcher: Searcher, count: int, change: Any) -> None:
        """Shows the pictures that look most like the drawing."""
        self.results, status = [], ""
        if self.strokes:
            try:
                self.results = searcher.search(searcher.embed(self.drawing), count)
                status = f"{len(self.results)} of {len(searcher.gallery)} pictures"
            except ValueError as error:
                status = str(error)
        self._found = [_shown(result, searcher.gallery) for result in self.results]
        self._status = status


def _shown(result: SearchResult, gallery: Gallery) -> dict[str, Any]:
    """Makes of a result what the browser shows of it."""
    picture = result.picture
    thumbnail = base64.b64encode(gallery.thumbnail(picture.id)).decode()
    return {
        "source": f"data:image/jpeg;base64,{thumbnail}",
        "name": picture.label or pathlib.PurePath(picture.path).name,
        "distance": result.distance,
    }
