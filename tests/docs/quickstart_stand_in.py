"""What the examples of README and the notebooks name, small: a network, a drawing, a folder of pictures."""

import numpy as np
from PIL import Image, ImageDraw

from dsf_jax.data.picture_folders import list_pictures
from dsf_jax.recognition.voting import vote
from dsf_jax.retrieval.picture_search import read_sketch, search_pictures, sketch_features
from dsf_jax.training.checkpoints import save_model
from tests.training.tiny import start_model


def make(folder):
    """Writes runs/quickstart, drawing.png and my_photos; what a network of random values takes the drawing
    for is called cat, and so is the picture that it finds.
    """
    image = Image.new("L", (200, 200), "white")
    ImageDraw.Draw(image).ellipse((30, 50, 170, 150), outline="black", width=6)
    image.save(folder / "drawing.png")
    sketch, model = read_sketch(folder / "drawing.png").query, start_model()
    winner = int(np.asarray(vote(model, {"points": sketch.points[None]}))[0].argmax())
    names = ["ant", "bee", "dog", "elk"]
    names.insert(winner, "cat")
    model = model.replace(config=model.config._replace(class_names=tuple(names)))
    save_model(folder / "runs" / "quickstart", model)
    (photos := folder / "my_photos").mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3))):
        picture = Image.fromarray(pixels.astype(np.uint8)).resize((64, 64))
        picture.save(photos / f"{number}.png")
    layer = model.default_feature
    shown = sketch_features(model, sketch, layer=layer)
    found = search_pictures(model, shown, list_pictures(photos)[0], 1, layer=layer).found
    found[0].path.rename(photos / "cat.png")
