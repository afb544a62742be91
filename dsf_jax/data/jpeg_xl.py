"""The size that a JPEG XL file states: its library decodes all of a file before it says how large it is."""

from collections.abc import Iterator

_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_CODESTREAM = b"\xff\x0a"
_SIDE_BITS = (9, 13, 18, 30)
# Width to height, by number; 0 states the width itself (ISO/IEC 18181-1, SizeHeader).
_RATIOS = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def size(content: bytes) -> tuple[int, int]:
    """Reads width and height, in pixels.

    Args:
      content: bytes of the file.

    Raises:
      ValueError: when it states none.

    >>> size(bytes.fromhex("ff0acb0600138802"))
    (64, 48)
    """
    bits = _Bits(_codestream(content)[2:16])
    by_eight = bits.read(1)
    height = _side(bits, by_eight)
    width, denominator = _RATIOS[bits.read(3)]
    return (height * width // denominator if width else _side(bits, by_eight)), height


class _Bits:
    """Numbers from bytes, lowest bits first."""

    def __init__(self, content: bytes) -> None:
        self._left = int.from_bytes(content, "little")

    def read(self, count: int) -> int:
        value = self._left & ((1 << count) - 1)
        self._left >>= count
        return value


def _side(bits: _Bits, by_eight: int) -> int:
    if by_eight:
        return 8 * (bits.read(5) + 1)
    return bits.read(_SIDE_BITS[bits.read(2)]) + 1


def _codestream(content: bytes) -> bytes:
    """Returns the picture's data, or the first part of it."""
    stream = content
    if content.startswith(_CONTAINER):
        boxes = dict(_boxes(content))
        stream = boxes.get(b"jxlc") or boxes.get(b"jxlp", b"")[4:]  # a part begins with its number
    if not stream.startswith(_CODESTREAM):
        raise ValueError("it states no size")
    return stream


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and first bytes of a container's boxes, up to the first of picture data."""
    place = 0
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(content[place + 8 : place + 16]), 16
        yield kind, content[place + head : place + head + 20]
        if kind in (b"jxlc", b"jxlp") or length < head:
            return
        place += length
