"""Writes files so that they are there whole or not at all."""

import os
import pathlib


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file through a temporary one beside it, which a failure removes.

    Args:
      path: replaced if it exists.
      text: the new content.

    Raises:
      OSError: when it cannot be written; the old file, if any, is as it was.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
