"""An SVG drawing -> pen strokes, by sampling its curves: never through pixels.

What counts as ink is what has a stroke paint that can be seen, whatever its colour and width: the
outlines of shapes that are only filled are not pen strokes. Files come from anywhere, so they are
looked through before they are parsed; nothing they refer to is ever opened.
"""

import functools
import io
import math
import string
import xml.parsers.expat
from collections.abc import Iterable, Iterator

import numpy as np

from data_builders.faults import BadFile
from dsf_jax.images.points import CANVAS

try:
    import svgelements
except ImportError as error:
    raise ImportError(
        "svgelements, which reads SVG files, is not installed; "
        "run `pip install svgelements` or install this project's extra `builders`"
    ) from error

# The largest of the TU-Berlin sketches has some 10^5 bytes.
MAX_BYTES = 8 * 2**20
MAX_ELEMENTS = 20_000
MAX_DEPTH = 32
MAX_SAMPLES = 1_000_000  # the canvas has half as many cells

_SVG = "http://www.w3.org/2000/svg"
_SHAPES = ("path", "line", "polyline", "polygon", "rect", "circle", "ellipse")
_READ = ("svg", "g", "title", "desc", "style", *_SHAPES)
_PASSED_OVER = ("defs", "metadata")  # with all that is in them
_ALL = "100%"  # a side that is not said

Box = tuple[float, float, float, float]


def strokes_from_svg(svg: bytes, where: str) -> tuple[list[np.ndarray], Box]:
    """Samples the strokes of an SVG drawing in drawing order.

    Transforms of all groups are chained, and shapes other than paths are followed along their
    outlines. A stroke is what a pen draws without lifting: each `M` of a path begins one.

    Args:
      svg: the file.
      where: its name in messages.

    Returns:
      Arrays [n, 2] float64 of x, y, and the drawing's box (left, top, width, height) in the same
      units: what `points_from_strokes` takes. On curves, neighbouring samples are less than a cell
      of the canvas apart; straight lines have only their ends.

    Raises:
      BadFile: when it is not an SVG, is damaged, declares entities, is too large or too deeply
        nested, has no size, or holds something that is not a shape (text, pictures, references) or
        no stroke at all.
    """
    _look_through(svg, where)
    try:
        drawing = _parsed(svg, where)
        width, height = float(drawing.width), float(drawing.height)
        controls = [control for shape in _inked([drawing]) for control in _controls(shape)]
    except BadFile:
        raise
    except Exception as error:  # the parser trips over damage in many ways, all of them the file's
        raise BadFile(where, "a shape or transform in it cannot be read") from error
    if not (min(width, height) > 0 and math.isfinite(max(width, height))):
        raise BadFile(where, "has a size that is not above 0")
    return _sampled(controls, CANVAS / max(width, height), where), (0.0, 0.0, width, height)


def _look_through(svg: bytes, where: str) -> None:
    """Raises BadFile for whatever must not be parsed, or would not be understood."""
    if len(svg) > MAX_BYTES:
        raise BadFile(where, f"larger than {MAX_BYTES} bytes for an SVG")
    scan = _Scan(where)
    parser = xml.parsers.expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = scan.start
    parser.EndElementHandler = scan.end
    parser.EntityDeclHandler = scan.entity
    try:
        parser.Parse(svg, True)
    except xml.parsers.expat.ExpatError as error:
        raise BadFile(where, "empty file" if not svg else "not a whole SVG") from error


class _Scan:
    """What is counted and refused while a parser walks through the file."""

    def __init__(self, where: str) -> None:
        self.where, self.elements, self.depth, self.unread = where, 0, 0, 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Looks at an opening tag; `name` is "namespace tag" or, without a namespace, "tag"."""
        del attributes
        namespace, _, tag = name.rpartition(" ")
        self.elements += 1
        self.depth += 1
        if self.elements > MAX_ELEMENTS:
            raise BadFile(self.where, f"more than {MAX_ELEMENTS} elements", "simplify or remove it")
        if self.depth > MAX_DEPTH:
            raise BadFile(self.where, f"more than {MAX_DEPTH} groups deep", "simplify or remove it")
        is_svg = namespace in ("", _SVG)
        if self.depth == 1 and not (is_svg and tag == "svg"):
            raise BadFile(self.where, "its root is not an SVG's")
        if self.unread or tag in _PASSED_OVER or not is_svg:
            self.unread += 1
        elif tag not in _READ:
            raise BadFile(
                self.where,
                f"holds <{tag}>, which is no pen stroke",
                "convert it to paths, or remove it",
            )

    def end(self, name: str) -> None:
        """Leaves an element."""
        del name
        self.depth -= 1
        self.unread = max(0, self.unread - 1)

    def entity(self, name: str, *_: object) -> None:
        """Refuses any entity: small ones grow to gigabytes, external ones name other files."""
        raise BadFile(
            self.where, f"declares the entity {name[:40]!r}", "write its text out instead"
        )


def _parsed(svg: bytes, where: str) -> "svgelements.SVG":
    """Parses an SVG; a side that it leaves open follows from the other one and the viewBox."""
    # The parser applies transforms to the radii of arcs, as if these stayed upright: it is kept from it.
    parse = functools.partial(svgelements.SVG.parse, reify=False, on_error="raise")
    drawing = parse(io.BytesIO(svg))
    sides = [drawing.values["attributes"].get(side, _ALL) for side in ("width", "height")]
    if drawing.viewbox is None and any(side.endswith("%") for side in sides):
        raise BadFile(where, "has no size", "give it a viewBox, or a width and a height in pixels")
    if (sides[0] == _ALL) == (sides[1] == _ALL):
        return drawing
    aspect = drawing.viewbox.width / drawing.viewbox.height
    if sides[0] == _ALL:
        return parse(io.BytesIO(svg), width=drawing.height * aspect)
    return parse(io.BytesIO(svg), height=drawing.width / aspect)


def _inked(elements: Iterable["svgelements.SVGElement"]) -> Iterator["svgelements.Shape"]:
    """Yields the shapes that a viewer strokes, in drawing order."""
    for element in elements:
        # Unlike all else, opacity is not inherited: within a group that is not seen, nothing is.
        if _is_nothing(_property(element.values["attributes"], "opacity")):
            continue
        if isinstance(element, svgelements.Group):
            yield from _inked(element)
        elif isinstance(element, svgelements.Shape) and _is_stroked(element):
            yield element


def _is_stroked(shape: "svgelements.Shape") -> bool:
    """Returns whether a shape has a stroke that can be seen."""
    own = shape.values
    paint = svgelements.Color(own["stroke"])  # the shape's has lost its alpha to stroke-opacity
    return (
        paint.value is not None
        and paint.alpha > 0
        and _property(own, "visibility") not in ("hidden", "collapse")
        and not _is_nothing(_property(own, "stroke-opacity"))
        and not _is_nothing(_property(own, "stroke-width"))
    )


def _property(values: dict[str, str], name: str) -> str:
    return values.get(name, "").partition("!")[0].strip().lower()  # without "!important"


def _is_nothing(amount: str) -> bool:
    """Returns whether a number is 0, in any unit; words such as "inherit" are not."""
    try:
        return float(amount.rstrip(string.ascii_lowercase + "%")) == 0
    except ValueError:
        return False


def _controls(shape: "svgelements.Shape") -> Iterator[np.ndarray]:
    """Yields the control points of a shape's pieces, where its transform brings them."""
    matrix = shape.transform
    linear = np.array([[matrix.a, matrix.b], [matrix.c, matrix.d]], np.float64)
    shift = np.array([matrix.e, matrix.f], np.float64)
    for piece in _pieces(shape.segments(transformed=False)):
        with np.errstate(over="ignore", invalid="ignore"):  # `_sampled` refuses what overflows
            moved = piece @ linear + shift
        yield moved


def _pieces(segments: Iterable["svgelements.PathSegment"]) -> Iterator[np.ndarray]:
    """Yields control points: [1, 2] begins a stroke, [2, 2] is a line, [4, 2] a cubic.

    A smooth curve goes on as one of its own degree before it, else its first control point is its start
    (SVG 1.1, 8.3.6 and 8.3.7); svgelements goes on as any curve.
    """
    before = None  # the kind of the last segment
    bend = np.zeros(2)  # the control point of the last quadratic
    for segment in segments:
        if isinstance(segment, svgelements.Move):
            yield _array(segment.end)
        elif isinstance(segment, svgelements.Arc):
            yield from _arc(segment)
        elif isinstance(segment, svgelements.QuadraticBezier):
            start, middle, end = _array(segment.start, segment.control, segment.end)
            if segment.smooth:
                middle = 2 * start - bend if before is svgelements.QuadraticBezier else start
            bend = middle
            yield np.stack([start, (start + 2 * middle) / 3, (2 * middle + end) / 3, end])
        elif isinstance(segment, svgelements.CubicBezier):
            control = _array(segment.start, segment.control1, segment.control2, segment.end)
            if segment.smooth and before is not svgelements.CubicBezier:
                control[1] = control[0]
            yield control
        else:
            yield _array(segment.start, segment.end)
        before = type(segment)


def _arc(arc: "svgelements.Arc") -> Iterator[np.ndarray]:
    """Yields an arc's cubics; without a radius it is a straight line, and between equal points it is
    omitted (SVG 1.1, F.6.2).
    """
    cubics = list(arc.as_cubic_curves()) if arc.rx and arc.ry else []
    for cubic in cubics:
        yield _array(cubic.start, cubic.control1, cubic.control2, cubic.end)
    if not cubics and arc.start != arc.end:
        yield _array(arc.start, arc.end)


def _array(*points: "svgelements.Point") -> np.ndarray:
    return np.array([[point.x, point.y] for point in points], np.float64)


def _sampled(controls: list[np.ndarray], scale: float, where: str) -> list[np.ndarray]:
    """Samples strokes from the control points of their pieces; `scale` is the number of cells per unit."""
    strokes: list[list[np.ndarray]] = []
    samples = 0
    for control in controls:
        # A cubic moves by at most 3 times its longest control leg while its parameter runs over 1.
        reach = 3 * scale * np.abs(np.diff(control, axis=0)).max(initial=0)
        if not reach <= MAX_SAMPLES:  # NaN as well
            raise BadFile(where, "a curve leads to nowhere or far out of the drawing")
        count = int(reach) + 1 if len(control) == 4 else 1
        samples += count
        if samples > MAX_SAMPLES:
            raise BadFile(where, f"more than {MAX_SAMPLES} samples long", "simplify or remove it")
        if len(control) == 1:
            strokes.append([control])
        elif not strokes:
            raise BadFile(where, "a path does not begin with a move")
        else:
            strokes[-1].append(_cubic(control, count) if len(control) == 4 else control[1:])
    # A mere move draws nothing in SVG; a line of no length is a dot.
    drawn = [np.concatenate(parts) for parts in strokes if len(parts) > 1]
    if not drawn:
        raise BadFile(where, "nothing drawn", "give its shapes a stroke paint, or remove it")
    return drawn


def _cubic(control: np.ndarray, count: int) -> np.ndarray:
    """Returns points [count, 2] of a cubic Bezier curve, without its start."""
    t = (np.arange(1, count + 1) / count)[:, None]
    s = 1 - t
    weights = np.hstack([s**3, 3 * s**2 * t, 3 * s * t**2, t**3])
    return weights @ control
