"""Pictures and an embedder that needs no network; as a script, one indexer of several.

python -m tests.retrieval.gallery_member FOLDER GALLERY BATCHES

It stores that many batches, and goes on when it is sent a line.
"""

import json
import sys

import numpy as np
from PIL import Image

from dsf_jax.gallery import synchroniser
from dsf_jax.gallery.embedder import Embedder
from dsf_jax.gallery.gallery import Gallery

BATCH = 4
D = 48


def coarse(photos):
    """The means of 4 x 4 tiles, of length 1."""
    tiles = photos.reshape(-1, 4, 64, 4, 64, 3).mean(axis=(2, 4), dtype=np.float32)
    features = tiles.reshape(-1, D) + 1
    return features / np.linalg.norm(features, axis=1, keepdims=True)


EMBEDDER = Embedder("0123456789abcdef", "L6+L7", coarse, BATCH)


def picture(seed, size=(60, 40)):
    """Random tiles."""
    tiles = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(tiles).resize(size, Image.Resampling.NEAREST)


def save(path, seed, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed, **options).save(path)


def main(folder, gallery, batches):
    left = iter(range(int(batches)))

    def pausing(photos):
        if next(left, None) is None:
            sys.stdin.readline()
        return coarse(photos)

    embedder = EMBEDDER._replace(embed_photos=pausing)
    synchroniser.COMMIT_EVERY = BATCH
    changes = Gallery.open(gallery, embedder).sync(folder)
    print(json.dumps(changes._asdict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
