"""Whether XLA has a flag."""

import importlib.util
import mmap
import pathlib


def knows(flag):
    """Whether the installed XLA has a flag; at one that it does not know it ends the process."""
    spec = importlib.util.find_spec("jaxlib")
    for path in pathlib.Path(spec.origin).parent.glob("libjax_common*"):
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library,
        ):
            return library.find(flag.encode()) >= 0
    return False
