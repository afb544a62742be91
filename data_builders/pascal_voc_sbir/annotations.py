"""A VOC annotation, an XML file -> the objects that it lists."""

import dataclasses
import math
import xml.parsers.expat
from collections.abc import Sequence
from typing import NoReturn
from xml.etree import ElementTree

from data_builders.faults import BadFile

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
MAX_BYTES = 2**18  # VOC's own have some thousands

_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclasses.dataclass(frozen=True)
class VocObject:
    """One annotated object.

    Attributes:
      class_name: one of `CLASSES`.
      difficult: VOC's flag: hard to recognise without the rest of the picture.
      box: (xmin, ymin, xmax, ymax) in pixels; the first pixel is 1, and the last one belongs to it.
    """

    class_name: str
    difficult: bool
    box: tuple[float, float, float, float]

    @property
    def area(self) -> float:
        """Pixels of the box."""
        left, top, right, bottom = self.box
        return (right - left + 1) * (bottom - top + 1)


def read_objects(data: bytes, where: str) -> tuple[VocObject, ...]:
    """Reads the objects of an annotation, in its order.

    Args:
      data: the file.
      where: its name in messages.

    Raises:
      BadFile: when it is not whole XML, has a document type (in which entities could be declared),
        is no VOC annotation, or lists no object, one of another class, or one whose box or flag
        makes no sense.
    """
    root = _parse(data, where)
    if root.tag != "annotation":
        raise BadFile(where, "no VOC annotation: its root is not <annotation>")
    objects = tuple(_object(element, where) for element in root.findall("object"))
    if not objects:
        raise BadFile(where, "lists no object")
    return objects


def main_object(objects: Sequence[VocObject]) -> VocObject:
    """Returns the object that stands for the photo: the largest one, of the easy ones if any."""
    easy = [one for one in objects if not one.difficult]
    return max(easy or objects, key=lambda one: one.area)


def _parse(data: bytes, where: str) -> ElementTree.Element:
    if len(data) > MAX_BYTES:
        raise BadFile(where, f"larger than {MAX_BYTES} bytes for an annotation")

    def refuse(*_: object) -> NoReturn:
        raise BadFile(where, "has a document type, which annotations need not", "remove it")

    tree = ElementTree.TreeBuilder()
    parser = xml.parsers.expat.ParserCreate()
    # Entities are declared only in the document type: whoever stops at its first character never
    # expands one, nor opens what one refers to.
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = tree.start
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(data, True)
        return tree.close()
    except BadFile:
        raise
    except (xml.parsers.expat.ExpatError, LookupError, ValueError) as error:
        raise BadFile(where, "not a whole XML file" if data else "empty file") from error


def _object(element: ElementTree.Element, where: str) -> VocObject:
    name = element.findtext("name", "").strip()
    if name not in CLASSES:
        raise BadFile(
            where,
            f"lists an object of the class {name!r}, which VOC2007 does not have",
            f"its classes are {', '.join(CLASSES)}",
        )
    difficult = element.findtext("difficult", "0").strip()
    if difficult not in ("0", "1"):
        raise BadFile(where, f"its <difficult> is {difficult!r}, not 0 or 1")
    # A person may have parts with boxes of their own, one level further down.
    try:
        left, top, right, bottom = (
            float(element.findtext(f"bndbox/{side}", "")) for side in _SIDES
        )
    except ValueError as error:
        raise BadFile(where, "the box of an object lacks a side, or it is no number") from error
    if not (math.isfinite(right - left + bottom - top) and left <= right and top <= bottom):
        raise BadFile(where, "the box of an object ends before it begins")
    return VocObject(name, difficult == "1", (left, top, right, bottom))
