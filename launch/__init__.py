"""The commands: flags, a few calls of the library, and what they print."""

import sys

from dsf_jax.huge_pages import restart_with_huge_pages
from launch import streams

# Both before the imports of a script, which take a second, may open files, or be interrupted.
streams.prepare()
if sys.argv[0] == "-m":  # while python -m launch.SCRIPT looks for the script
    restart_with_huge_pages()
