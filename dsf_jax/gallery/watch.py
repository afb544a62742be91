"""Waits until folders of pictures change."""

import math
import pathlib
import time
from collections.abc import Iterator, Sequence

from dsf_jax.data.picture_folders import is_excluded, is_system_folder

try:
    import watchfiles
except ImportError as error:
    raise ImportError(
        "watchfiles, which waits for changes of folders, is not installed; run `pip install watchfiles` or "
        "install this project's extra `watch`"
    ) from error

LOOK_AGAIN = (
    300  # seconds after which folders may have changed unnoticed: network disks report nothing
)
QUIET, AT_MOST = 0.5, 10.0  # seconds without a change that end a series of changes, and its length
TICK = 1.0  # seconds until it is known that watching has begun


def watch_folders(
    roots: Sequence[pathlib.Path], *, exclude: Sequence[str] = (), look_again: float = LOOK_AGAIN
) -> Iterator[None]:
    """Waits for changes until it is interrupted.

    It yields for the first time once it watches: what has changed before, it cannot know.

    Args:
      roots: absolute paths of existing folders.
      exclude: patterns of files and folders whose changes do not matter, see `is_excluded`.
      look_again: seconds without a reported change after which there may be some nevertheless.

    Yields:
      None, each time that the folders may have changed, at the start too. No change after the first
      time is missed.

    Raises:
      OSError: when the system cannot watch this many folders.
    """

    def matters(change: watchfiles.Change, path: str) -> bool:
        del change
        return may_matter(pathlib.Path(path), roots, exclude)

    seen = watchfiles.watch(
        *roots,
        watch_filter=matters,
        debounce=int(1000 * AT_MOST),
        step=int(1000 * QUIET),
        rust_timeout=int(1000 * TICK),
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )
    looked = -math.inf
    try:
        for changes in seen:
            if changes or time.monotonic() - looked >= look_again:
                yield
                looked = time.monotonic()
    except OSError as error:
        raise OSError(
            f"{', '.join(map(str, roots))} cannot be watched ({error}); run without watching from time to "
            "time, or raise the system's limit of watched folders (Linux: sysctl fs.inotify.max_user_watches)"
        ) from error


def may_matter(
    path: pathlib.Path, roots: Sequence[pathlib.Path], exclude: Sequence[str] = ()
) -> bool:
    """Returns whether a changed path may be a picture's: it is not hidden, a system's, a gallery's or
    excluded.
    """
    for root in roots:
        if path.is_relative_to(root):
            place = path.relative_to(root)
            foreign = any(
                name.startswith(".") or name.endswith(".lance") or is_system_folder(name)
                for name in place.parts
            )
            return not foreign and not is_excluded(place, exclude)
    return True
