"""A recipe of few small pictures and a tiny network, with the public files that it is made of; importing this
file registers it.
"""

import dataclasses
import io
import json
import tarfile
from pathlib import Path

from data_builders import public_sets
from dsf_jax.recipes.recipe import RECIPES, Recipe
from dsf_jax.training.config import TrainConfig
from tests import backbones  # noqa: F401  # registers them
from tests.data_builders.drawn import drawing, photo, write_tree, write_zip

# In DomainNet, in Quick, Draw!, in Sketchy, in Caltech-101; the first is not trained on.
CLASSES = (
    ("airplane", "airplane", "airplane", "airplanes"),
    ("alarm_clock", "alarm clock", "alarm_clock", "anchor"),
    ("bear", "bear", "bear", "ant"),
)
SKETCHY = 2
RECIPE = Recipe(
    name="small",
    purpose="a network of nothing, for tests",
    datasets=(
        "quickdraw/sketch",
        "sketchy/sketch",
        "sketchy/photo",
        "domainnet/sketch",
        "domainnet/real",
        "caltech101/photo",
    ),
    mixture="S+I",
    sketches=("domainnet/sketch",),
    photos=("domainnet/real",),
    examples=50,
    weights="random",
    backbone="tiny",
    unseen="sketchy-25",
    embedding=6,
    train=TrainConfig(
        steps=3, batch_size=8, loss="cosine+contrastive", examples_per_class=2, save_every=2
    ),
)
ACCEPTED = "quickdraw,domainnet,caltech101"


def _small(own):
    """A public set with the files that there are here; their checksums are others."""
    words = [f"{words[1]}.ndjson" for words in CLASSES]
    files = {
        name: dataclasses.replace(download, sha256="", first=min(download.first, 400))
        for name, download in own.files.items()
        if own.name != "quickdraw" or name in words
    }
    return dataclasses.replace(own, files=files)


def write_public_files(folder):
    """Writes what the hosts have: HOST/PATH."""
    domainnet = folder / "csr.bu.edu/ftp/visda/2019/multi-source"
    domainnet.mkdir(parents=True)
    for domain in ("real", "sketch", "quickdraw"):
        make = photo if domain == "real" else drawing
        pictures = {
            f"{domain}/{words[0]}/{domain}_{c}_{i}.png": make(5 + 4 * c + i)
            for c, words in enumerate(CLASSES)
            for i in range(4)
        }
        write_zip(domainnet / f"{domain}.zip", pictures)
        for split, wanted in (("train", "012"), ("test", "3")):
            lines = [f"{path} 0\n" for path in pictures if path[-5] in wanted]
            listed = {f"domainnet/txt/{domain}_{split}.txt": "".join(lines).encode()}
            write_tree(domainnet, listed)
    lines = {
        f"{words[1]}.ndjson": b"".join(_line(words[1], 10 * c + i) for i in range(9))
        for c, words in enumerate(CLASSES)
    }
    write_tree(folder / "storage.googleapis.com/quickdraw_dataset/full/simplified", lines)
    write_tree(
        folder / "data.caltech.edu/records/mzrjq-6wc02/files", {"caltech-101.zip": _caltech()}
    )
    return folder


def _line(word, number):
    strokes = [[[0, 100, number], [0, 50, 99]]]
    fields = {"word": word, "key_id": f"{number:016}", "recognized": True, "drawing": strokes}
    return json.dumps(fields).encode() + b"\n"


def _caltech():
    packed, outer = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for c, words in enumerate(CLASSES):
            for i in range(2):
                content = photo(c + 3 * i, "JPEG")
                member = tarfile.TarInfo(f"101_ObjectCategories/{words[3]}/image_{i:04}.jpg")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    write_zip(outer, {"caltech-101/101_ObjectCategories.tar.gz": packed.getvalue()})
    return outer.getvalue()


def write_sketchy(folder: Path) -> Path:
    """Writes what a person has of the Sketchy database."""
    files = {}
    for c, words in enumerate(CLASSES):
        for i in range(SKETCHY):
            files[f"photo/{words[2]}/p{i}.jpg"] = photo(c + 5 * i, "JPEG")
            files[f"sketch/{words[2]}/p{i}-1.png"] = drawing(6 + 5 * c + i)
    return write_tree(folder, files)


RECIPES[RECIPE.name] = RECIPE  # type: ignore[index]
for _name in ("quickdraw", "domainnet", "caltech101"):
    public_sets.PUBLIC_SETS[_name] = _small(public_sets.PUBLIC_SETS[_name])  # type: ignore[index]
