"""What the storage library raises -> errors of one line that name the gallery and what can be done."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator

# Of a commit, which gives a file its name only where there is none: by a hard link.
_NO_LINKS = re.compile(
    r"Unable to (?:rename|copy|link) file: .*\(os error (?:1|31|38|45|50|95|102|524)\)"
    r"|the filesystem does not support an operation"
)
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")
_DAMAGED = re.compile(
    r"fill whole buffer|Invalid range|does not appear to be|invalid magic|[Cc]orrupt|out of bounds"
    r"|decod|unexpected end|failed to parse|Invalid input|protobuf|file size is too small"
)
_SOURCE_PLACE = re.compile(r",? ?\S*\.rs:\d+(?::\d+)?")  # where the library was built
_WINDOWS = {5: errno.EACCES, 19: errno.EROFS, 39: errno.ENOSPC, 112: errno.ENOSPC}
_AGAIN = "make the gallery again under another name with python -m launch.index"


@contextlib.contextmanager
def storage_errors(uri: str) -> Iterator[None]:
    """Turns what the storage library raises into errors of one line that names the gallery.

    Args:
      uri: place of the gallery.

    Raises:
      OSError: for whatever is wrong with the place or with what lies there.
    """
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        text = str(error)
        is_of_storage = isinstance(error, RuntimeError) or bool(
            re.search(r"lance error|Lance file", text)
        )
        if "No space left on device" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), uri) from error
        if is_of_storage:
            raise _explained(text, uri) from error
        raise


def damaged(uri: str, what: str) -> OSError:
    """Returns the error for a gallery that lacks a part."""
    return OSError(f"{uri} is damaged: {what}; restore it from a copy, or {_AGAIN}")


def _explained(text: str, uri: str) -> OSError:
    """Returns the error to raise for what the storage library says."""
    reason = _SOURCE_PLACE.sub("", text.partition("\n")[0]).strip()
    if _NO_LINKS.search(reason):
        return OSError(
            f"{uri} lies on a file system without hard links, as exFAT and some network disks are, and "
            "LanceDB commits by them; put the gallery on another disk or into an object store, s3://BUCKET/PATH"
        )
    number = _SYSTEM_ERROR.search(reason)
    if "Not found" in reason or (number and int(number[1]) == errno.ENOENT):
        missing = re.search(r"(\w+\.lance/\S+)", reason)
        which = f" ({missing[1].rstrip(',.:')})" if missing else ""
        return damaged(uri, f"a file of it is missing{which}")
    if number:
        code = int(number[1])
        code = _WINDOWS.get(code, code) if sys.platform == "win32" else code
        return OSError(code, os.strerror(code), uri)
    if _DAMAGED.search(reason):
        return OSError(f"{uri} is damaged ({reason}); restore it from a copy, or {_AGAIN}")
    if "conflict" in reason.lower():
        return OSError(
            f"{uri} is written to by too many processes at once ({reason}); run the command again when "
            "they have ended"
        )
    return OSError(
        f"{uri} failed to be read or written ({reason}); check its disk or network, and if that helps "
        f"nothing, {_AGAIN}"
    )
