"""Times the page: from the end of a stroke to results on the screen, among 10,000 pictures.

python -m launch.benchmarks.page --checkpoint=runs/quickstart

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
from absl import flags

from dsf_jax.data import quickstart
from dsf_jax.training.checkpoints import load_model, save_model
from launch import common, shared_flags
from launch.benchmarks.gallery import fill_gallery
from launch.benchmarks.vit import large_network

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", quickstart.FOLDER, "Run or checkpoint folder whose features are imitated."
)
_LARGE = flags.DEFINE_bool(
    "large", False, "Takes a random network of 90 million parameters instead of a checkpoint."
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 10_000, "Number of pictures in the gallery.", lower_bound=1
)
_FOLDER = flags.DEFINE_string("folder", None, "Folder that keeps the gallery for another time.")
_PAUSE = flags.DEFINE_float(
    "pause",
    1.5,
    "Seconds between strokes; in a short one the vote is under way when the next ends.",
)
_QUERY_VIEWS = shared_flags.define_query_views()

STROKES = 20
CHROMIUM = "/usr/bin/chromium"
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


def main() -> None:
    """Makes the gallery, serves it, draws, and prints."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(_FOLDER.value or temporary)
        checkpoint = _CHECKPOINT.value
        if _LARGE.value:
            checkpoint = str(folder / "checkpoint")
            if not (folder / "checkpoint").exists():
                save_model(checkpoint, large_network(small=False))
        if not (folder / "gallery").exists():
            fill_gallery(load_model(checkpoint), folder, _PICTURES.value)
        started = time.monotonic()
        server = _serve(folder, checkpoint)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = re.search(r"http://\S+", line)
            if address is None:
                raise ValueError("launch.serve did not start; its error stands above, fix it")
            print(f"started after {time.monotonic() - started:.1f} s: {line}", end="")
            report(time_strokes(address[0], _PAUSE.value), _PICTURES.value)
        finally:
            server.terminate()
            server.wait()


def _serve(folder: pathlib.Path, checkpoint: str) -> subprocess.Popen[str]:
    """Starts a server of the folder's gallery; its first line of output says where it listens."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "launch.serve", "--port=0"),
            *(f"--gallery={folder}/gallery", f"--checkpoint={checkpoint}"),
            f"--query_views={_QUERY_VIEWS.value}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )


def time_strokes(address: str, pause: float) -> list[float]:
    """Draws strokes one after the other; returns the milliseconds until results of each.

    Args:
      address: address of the page.
      pause: seconds between strokes.
    """
    from playwright.sync_api import sync_playwright  # only this needs it

    rng = np.random.default_rng(1)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        page.evaluate(WATCH)
        box = page.locator("#canvas").bounding_box()
        assert box is not None
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
            page.wait_for_timeout(1000 * pause)
        return page.evaluate("() => times")


def report(times: list[float], count: int) -> None:
    """Prints the distribution of the times, in milliseconds, among `count` pictures."""
    low, middle, high, worst = np.percentile(times, [0, 50, 90, 100])
    print(
        f"stroke's end to results on the screen, {len(times)} strokes, {count} pictures: median "
        f"{middle:.0f} ms, 90 % {high:.0f} ms, from {low:.0f} to {worst:.0f} ms"
    )


if __name__ == "__main__":
    common.run(main)
