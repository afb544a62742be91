"""Huge pages for the arrays of CPUs, which glibc must be asked for before a process starts.

XLA allocates a step's buffers anew at each step. In pages of 4 KiB, a third of a training step of
EfficientNet-Lite goes into page faults and address translation (BUILD_NOTES.md, "Huge pages").
"""

import os
import pathlib
import sys

_TUNABLES, _ASKED = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_MODE = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages() -> None:
    """Starts the running command again, as it was typed, with glibc asking for huge pages; returns where
    that would change nothing: they are asked for, the kernel gives them unasked or not at all, or
    the C library is another.
    """
    earlier = os.environ.get(_TUNABLES, "")
    if _ASKED in earlier or not _on_request():
        return
    tunables = f"{earlier}:{_ASKED}=1" if earlier else f"{_ASKED}=1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(
        sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, _TUNABLES: tunables}
    )


def _on_request() -> bool:
    """Tells whether huge pages are given to who asks, and glibc can ask."""
    try:
        return "[madvise]" in _MODE.read_text("ascii") and bool(
            (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
        )
    except (OSError, ValueError, AttributeError):  # no Linux, no glibc, Windows
        return False
