"""Small likenesses of TU-Berlin, of Eitz's benchmark and of VOC2007, and runs of random values."""

import json

import numpy as np
from PIL import Image, ImageDraw

from data_builders.eitz_sbir.eitz_sbir_dataset_builder import Builder as Eitz
from data_builders.pascal_voc_sbir.pascal_voc_sbir_dataset_builder import Builder as Voc
from data_builders.prepare import prepare
from data_builders.tu_berlin.tu_berlin_dataset_builder import Builder as TuBerlin
from dsf_jax.models.model import ModelConfig, init_model
from dsf_jax.training.checkpoints import save_model
from tests.backbones import NARROW

CLASSES = ("ball", "box")


def sketch(path, shape, x):
    picture = Image.new("L", (64, 64), 255)
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if shape == "ball" else draw.rectangle)((x, 8, x + 30, 50), outline=0, width=2)
    save(picture, path)


def photo(path, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    save(Image.fromarray(noise), path)


def save(picture, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def annotation(name):
    return f"""<annotation><object><name>{name}</name><difficult>0</difficult><bndbox><xmin>1</xmin>
    <ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def prepare_small_sets(folder, source):
    """Prepares them in a folder, from files that it draws in another."""
    for name in CLASSES:
        for i in range(6):
            sketch(source / "tu" / name / f"{i}.png", name, 3 * i)
    ratings = ["sketch,image,rating"]
    for i, name in enumerate(CLASSES):
        sketch(source / "eitz" / "sketches" / f"{name}.png", name, 5)
        for j in range(4):
            photo(source / "eitz" / "images" / name / f"{j}.png", 10 * i + j)
            ratings.append(f"{name},{j}.png,{j}")
    (source / "eitz" / "ratings.csv").write_text("\n".join([*ratings, ""]))
    voc, shown = source / "voc" / "VOC2007", ["car", "car", "bicycle", "dog", "dog", "cat"]
    for part in ("Annotations", "ImageSets/Main"):
        (voc / part).mkdir(parents=True)
    for i, name in enumerate(shown):
        photo(voc / "JPEGImages" / f"00000{i}.jpg", i)
        (voc / "Annotations" / f"00000{i}.xml").write_text(annotation(name))
    for split, members in (("train", range(2)), ("val", range(2, 4)), ("test", range(4, 6))):
        lines = "".join(f"00000{i}\n" for i in members)
        (voc / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
    for name in ("car", "bicycle"):
        sketch(source / "voc" / "queries" / name / "1.png", "ball", 4)
    for builder, configs, where in (
        (TuBerlin, ["sketch"], "tu"),
        (Eitz, ["sketch", "photo"], "eitz"),
        (Voc, ["sketch", "photo"], "voc"),
    ):
        for config in configs:
            prepare(builder(config=config, data_dir=folder, source=source / where, processes=1))


def make_run(
    folder, fold, *, seed, trained_on=None, digest=None, resizing="edge_preserving", classes=CLASSES
):
    """What launch.train leaves of a fold, untrained."""
    config = ModelConfig(NARROW.name, classes, NARROW.size, (), resizing)
    save_model(folder / "checkpoints", init_model(config, seed))
    rest = trained_on or "+".join(f"fold{i}" for i in range(3) if i != fold)
    data = [f"sketch: 8 from tu_berlin/sketch [{rest}], 4 a class"]
    if digest:
        data = [f"{data[0]}; digest {digest}"]
    (folder / "config.json").write_text(json.dumps({"start": {"data": data}}))
