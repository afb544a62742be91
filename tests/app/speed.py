"""Times the page: from the end of a stroke to results on the screen, among 10,000 pictures.

python -m tests.app.speed --checkpoint=runs/quickstart

Network and features are real in size, the gallery's vectors random: time does not depend on their
values. Needs playwright and chromium.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags, logging
from PIL import Image
from playwright.sync_api import sync_playwright

from dsf_jax.gallery.gallery import Embedder, Gallery
from dsf_jax.training.checkpoints import fingerprint, load_model

_CHECKPOINT = flags.DEFINE_string("checkpoint", "runs/quickstart", "Whose features they pass for.")
_PICTURES = flags.DEFINE_integer("pictures", 10_000, "In the gallery.")
_FOLDER = flags.DEFINE_string("folder", None, "Keeps the gallery for another time.")
_PAUSE = flags.DEFINE_float(
    "pause",
    1.5,
    "Seconds between strokes; in a short one the vote is under way when the next ends.",
)

STROKES = 20
WATCH = """() => {
    window.times = [];
    let lifted = 0;
    addEventListener("pointerup", () => { lifted = performance.now(); }, true);
    new MutationObserver(() => {
        const from = lifted;
        lifted = 0;
        if (from) requestAnimationFrame(() => setTimeout(() => times.push(performance.now() - from)));
    }).observe(document.getElementById("results"), {attributeFilter: ["data-number"]});
}"""


def main(_):
    """Makes the gallery, serves it, draws, and prints."""
    logging.set_verbosity(logging.FATAL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(_FOLDER.value or temporary)
        if not (folder / "gallery").exists():
            make(folder)
        started = time.monotonic()
        command = [sys.executable, "-m", "launch.serve", "--port=0", f"--gallery={folder}/gallery"]
        server = subprocess.Popen(
            [*command, f"--checkpoint={_CHECKPOINT.value}"], stdout=subprocess.PIPE, text=True
        )
        try:
            line = server.stdout.readline()
            print(f"started after {time.monotonic() - started:.1f} s: {line}", end="")
            draw(re.search(r"http://\S+", line)[0])
        finally:
            server.terminate()
            server.wait()


def make(folder):
    """Fills a gallery with random features, each picture of one colour."""
    _, params = load_model(_CHECKPOINT.value)
    rng = np.random.default_rng(0)

    def features(photos):
        rows = np.maximum(rng.normal(size=(len(photos), 8192)), 0).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    for number in range(_PICTURES.value):
        place = folder / "pictures" / f"{number % 100}"
        place.mkdir(parents=True, exist_ok=True)
        colour = (number % 256, number // 256 % 256, 128)
        Image.new("RGB", (96, 96), colour).save(place / f"{number}.png")
    gallery = Gallery.create(folder / "gallery", Embedder(fingerprint(params), "L6+L7", features))
    gallery.sync(folder / "pictures")


def draw(address):
    """Draws strokes one after the other, and times each."""
    rng = np.random.default_rng(1)
    with sync_playwright() as playwright:
        arguments = {"executable_path": "/usr/bin/chromium", "args": ["--no-sandbox"]}
        page = playwright.chromium.launch(**arguments).new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        page.evaluate(WATCH)
        box = page.locator("#canvas").bounding_box()
        for number in range(STROKES):
            steps = np.concatenate([rng.uniform(0.2, 0.8, (1, 2)), rng.uniform(-0.1, 0.1, (5, 2))])
            places = np.cumsum(steps, axis=0).clip(0, 1) * box["width"] + [box["x"], box["y"]]
            page.mouse.move(*places[0])
            page.mouse.down()
            for place in places[1:]:
                page.mouse.move(*place, steps=10)
                page.wait_for_timeout(60)  # a stroke of a third of a second
            page.mouse.up()
            page.wait_for_function("n => times.length > n", arg=number)
            page.wait_for_timeout(1000 * _PAUSE.value)
        times = page.evaluate("() => times")
    low, middle, high, worst = np.percentile(times, [0, 50, 90, 100])
    print(
        f"stroke's end to results on the screen, {len(times)} strokes, {_PICTURES.value} pictures: median "
        f"{middle:.0f} ms, 90 % {high:.0f} ms, from {low:.0f} to {worst:.0f} ms"
    )


if __name__ == "__main__":
    app.run(main)
