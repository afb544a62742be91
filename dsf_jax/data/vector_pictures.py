"""SVG -> PNG, in a process of its own: what comes from outside may want all memory and time.

The process runs this file. It loads nothing that the SVG refers to outside itself, as browsers do with
the SVG of an <img>; scripts are never run.
"""

import re
import subprocess
import sys
import zlib
from xml.etree import ElementTree

MAX_BYTES = 32 << 20  # of an SVG, unpacked
LONGER_SIDE = 1024  # pixels that an SVG is drawn with
PIXELS_PER_INCH = 96  # CSS's; resvg-py takes 0 for it, by which millimetres and points are nothing
TIME, MEMORY = 10, 2 << 30  # seconds and bytes that drawing one may take
_PICTURE_WITHIN = re.compile(r"\s*(#|data:image/(png|jpe?g|gif|webp);)", re.IGNORECASE)
_GZIP = b"\x1f\x8b"


def render_svg(content: bytes) -> bytes:
    """Draws an SVG, compressed or not.

    Args:
      content: bytes of the file.

    Returns:
      PNG whose longer side has `LONGER_SIDE` pixels, transparent where nothing is drawn.

    Raises:
      ValueError: when it is no SVG, is larger than `MAX_BYTES`, or needs too much memory or time.
    """
    if len(content) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
    command = [sys.executable, "-P", __file__]  # -P: no module of the working folder
    try:
        child = subprocess.run(command, input=content, capture_output=True, timeout=2 * TIME)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it takes more than {TIME} s to draw") from None
    if child.returncode == 1:
        lines = child.stderr.decode(errors="replace").splitlines() or ["it cannot be drawn"]
        raise ValueError(lines[-1].rpartition("Error: ")[2])
    if child.returncode:
        raise ValueError(f"it takes more than {TIME} s or {MEMORY >> 30} GiB to draw")
    return child.stdout


def _unpacked(content: bytes) -> bytes:
    """Returns an SVG that may be compressed."""
    if not content.startswith(_GZIP):
        return content
    unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, MAX_BYTES + 1)
    if len(unpacked) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
    return unpacked


def _without_references(content: bytes) -> ElementTree.Element:
    """Parses an SVG and takes out what would be loaded from elsewhere; expat ends bombs of entities."""
    root = ElementTree.fromstring(content)
    for element in root.iter():
        for name, value in list(element.items()):
            if name.rpartition("}")[2] == "href" and not _PICTURE_WITHIN.match(value):
                del element.attrib[name]
    return root


def _limit() -> None:
    """Has the system end this process before it takes the machine's memory or time."""
    if sys.platform == "win32":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (TIME, TIME))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _draw() -> None:
    """Draws the SVG of standard input to standard output."""
    import resvg_py

    _limit()
    svg = _without_references(_unpacked(sys.stdin.buffer.read()))
    png = resvg_py.svg_to_bytes(
        svg_string=ElementTree.tostring(svg, "unicode"),
        width=LONGER_SIDE,
        height=LONGER_SIDE,
        dpi=PIXELS_PER_INCH,
    )
    sys.stdout.buffer.write(png)


if __name__ == "__main__":
    _draw()
