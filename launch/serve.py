"""Serves a page to draw on, which finds pictures of a gallery while one draws.

python -m launch.serve --gallery=my_gallery --checkpoint=runs/quickstart

`python -m launch.index` makes a gallery of a folder of pictures. Without --gallery, the pictures that
the quickstart trained and tested with are served.
"""

import io
import pathlib
import re
import sys
import time

import jax
from absl import flags
from PIL import Image
from tqdm import tqdm

from dsf_jax.app.searcher import Searcher
from dsf_jax.data.files import write_whole
from dsf_jax.data.records import open_records
from dsf_jax.gallery.gallery import Embedder, Gallery, network_embedder
from dsf_jax.gallery.store import open_table
from dsf_jax.training.checkpoints import fingerprint, load_model
from launch import common
from launch.listening import address, listen, names

try:
    import uvicorn

    from dsf_jax.app.server import create_app
except ImportError as error:
    raise ImportError(
        f"{error.name}, which the page is served with, is not installed; run `pip install fastapi uvicorn` or "
        "install this project's extra `app`"
    ) from error

QUICKSTART = "runs/quickstart"
PICTURES, GALLERY = "pictures", "gallery"  # of the quickstart, made in its folder

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", QUICKSTART, "Run or checkpoint folder that the gallery was made with."
)
_GALLERY = flags.DEFINE_string(
    "gallery",
    None,
    "Gallery to search; by default one of the quickstart's pictures, made when absent.",
)
_HOST = flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "Address to listen on; 0.0.0.0 lets other machines in, who then see all pictures.",
)
_PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen on; 0 takes a free one.", lower_bound=0, upper_bound=65535
)


def main() -> None:
    """Opens the gallery, compiles, and serves until Ctrl-C."""
    started = time.monotonic()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # many small ones add up
    listening = listen(_HOST.value, _PORT.value)
    try:
        searcher = open_searcher(_CHECKPOINT.value, _GALLERY.value)
        searcher.warm_up()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(searcher, hosts=names(_HOST.value)),
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        seconds = time.monotonic() - started
        print(
            f"{len(searcher.gallery)} pictures, ready after {seconds:.1f} s: open {address(listening)} "
            "(Ctrl-C ends it)",
            flush=True,
        )
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    finally:
        listening.close()


def open_searcher(checkpoint: str, uri: str | None) -> Searcher:
    """Opens a checkpoint and a gallery that belong together.

    Args:
      checkpoint: run or checkpoint folder.
      uri: of the gallery; None for the quickstart's pictures.

    Raises:
      OSError: when one of them is not there.
      ValueError: when they do not belong together.
    """
    card, params = load_model(checkpoint)
    made = fingerprint(params)
    if uri is None:
        gallery = quickstart_gallery(
            pathlib.Path(checkpoint),
            network_embedder(card.network(), params, fingerprint=made, size=card.size),
        )
        return Searcher(card, params, gallery, layer=gallery.settings.layer)
    layer = open_table(uri).settings.layer
    embedder = network_embedder(
        card.network(), params, fingerprint=made, layer=layer, size=card.size
    )
    return Searcher(card, params, Gallery.open(uri, embedder), layer=layer)


def quickstart_gallery(run: pathlib.Path, embedder: Embedder) -> Gallery:
    """Opens the gallery of the quickstart's pictures; what is missing of it is made."""
    pictures = run / PICTURES
    uri = run / f"{GALLERY}-{embedder.fingerprint}"  # trained further, a network gets another
    if not pictures.exists():
        write_pictures(run / "data", pictures)
    try:
        gallery = Gallery.open(uri, embedder)
    except FileNotFoundError:  # or killed while it was made
        gallery = Gallery.create(uri, embedder)
    gallery.sync(pictures)
    return gallery


def write_pictures(data_dir: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the quickstart's photos as files, LABEL/NAME.png.

    Args:
      data_dir: of the quickstart's records.
      folder: appears when all are there.

    Raises:
      FileNotFoundError: when the quickstart has not been run.
    """
    if not data_dir.is_dir():
        raise FileNotFoundError(
            f"{data_dir} is not there; run `make quickstart` first, or name a --gallery of your own "
            "pictures (launch.index makes one) with its --checkpoint"
        )
    part = folder.with_name(f".{folder.name}.part")
    for split in ("train", "test"):
        records = open_records(data_dir, "openmoji/photo", split)
        for record in tqdm(records, desc=f"pictures of {split}", unit="picture"):
            label = re.sub(r"[/\\\0]", " ", records.class_names[record["label"]])
            buffer = io.BytesIO()
            Image.fromarray(record["image"]).save(buffer, "PNG")
            write_whole(part / label / f"{record['source_id']}.png", buffer.getvalue())
    part.rename(folder)


if __name__ == "__main__":
    common.run(main)
