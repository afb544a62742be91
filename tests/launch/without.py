"""Runs a script as where a library is not installed.

python -m tests.launch.without LIBRARY SCRIPT [--FLAGS]
"""

import runpy
import sys

if __name__ == "__main__":
    absent, script = sys.argv[1:3]
    sys.modules[absent] = None
    del sys.argv[1:3]
    runpy.run_module(f"launch.{script}", run_name="__main__", alter_sys=True)
