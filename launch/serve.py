"""Serves a page to draw on, which finds pictures of a gallery while one draws.

python -m launch.serve --gallery=my_gallery --checkpoint=runs/quickstart

`python -m launch.index` makes a gallery of a folder of pictures. Without --gallery, the pictures that
the quickstart trained and tested with are served.
"""

import sys
import time
import webbrowser

import jax
from absl import flags

from dsf_jax.data import quickstart
from launch import common, shared_flags

_CHECKPOINT = shared_flags.define_checkpoint(quickstart.FOLDER)
_GALLERY = shared_flags.define_gallery(required=False)
_QUERY_VIEWS = shared_flags.define_query_views()
_DUPLICATES = shared_flags.define_duplicates()
_WARN_FAR = shared_flags.define_warn_far()
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on; 0.0.0.0 lets other machines in, who then see all pictures.",
)
_PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535
)
_ALLOWED_HOSTS = flags.DEFINE_list(
    "allowed_hosts",
    [],
    "Further names that the server may be called by, as those of a reverse proxy in front of it: "
    "--allowed_hosts=photos.example.org,photos.local. By any other name it answers 421, which keeps "
    "foreign pages out.",
)
_BASE_PATH = flags.DEFINE_string(
    "base_path",
    "",
    "Path that all lies under, where a reverse proxy passes it on as it is: --base_path=/draw for "
    "https://photos.example.org/draw/. A proxy that takes it away needs none.",
)
_OPEN = flags.DEFINE_boolean("open", False, "Opens the page in this machine's browser.")


def main() -> None:
    """Opens the gallery, compiles, and serves until Ctrl-C."""
    # They need LanceDB, FastAPI and uvicorn, which --help does not.
    import uvicorn

    from dsf_jax.app.listening import browser_address, host_names, listen
    from dsf_jax.app.middleware import check_base_path
    from dsf_jax.app.opening import open_searcher
    from dsf_jax.app.server import create_app

    started = time.monotonic()
    hosts = host_names(_HOST.value, _ALLOWED_HOSTS.value)
    check_base_path(_BASE_PATH.value)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # many small ones add up
    listening = listen(_HOST.value, _PORT.value)
    try:
        searcher = open_searcher(
            _CHECKPOINT.value,
            _GALLERY.value,
            _QUERY_VIEWS.value,
            duplicates=_DUPLICATES.value,
            warns_far=_WARN_FAR.value,
        )
        common.note(searcher.expectation)
        searcher.warm_up()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(searcher, hosts=hosts, base_path=_BASE_PATH.value),
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        seconds = time.monotonic() - started
        address = browser_address(listening) + (_BASE_PATH.value and f"{_BASE_PATH.value}/")
        print(
            f"{len(searcher.gallery)} pictures, ready after {seconds:.1f} s: open {address} (Ctrl-C ends it)",
            flush=True,
        )
        # The port listens already: who connects before the server runs waits for it.
        if _OPEN.value and not webbrowser.open(address):
            common.note(f"no browser was found on this machine; open {address} yourself")
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    finally:
        listening.close()


if __name__ == "__main__":
    common.run(main)
