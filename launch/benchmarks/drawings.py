"""Rows of a drawing: its points from its pixels, its 18 views from its points, its class by vote."""

import functools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from dsf_jax.images.points import CANVAS, ink_of, points_from_image
from dsf_jax.images.resize import BINARY_PEN, PEN
from dsf_jax.images.views import VIEW_ANGLES, sketch_views
from dsf_jax.models.alexnet import CAFFE
from dsf_jax.models.model import Model
from dsf_jax.recognition.voting import vote
from launch.benchmarks.network import alexnet, forward_flops, parameter_bytes
from launch.benchmarks.sketches import (
    SIDE,
    looped_views,
    lost_ink,
    pixels_of,
    points_of,
    strokes,
    unpadded,
    warped_views,
)
from launch.benchmarks.torch_network import torch_networks
from launch.benchmarks.work import Setting, Work, checked, relative_difference

DRAWINGS = 8  # thinned in one call, so that all cores have work
VIEWS = len(VIEW_ANGLES)


def resize(setting: Setting) -> Iterator[Work]:
    """Edge-preserving resize: 18 views of a 1111 x 1111 sketch, its points given; as the paper's binary
    maps, and drawn with the pen.
    """
    lines = strokes()
    points, image = points_of(lines), pixels_of(lines)
    for row, pen in (("resize", BINARY_PEN), ("pen", PEN)):
        draw = functools.partial(_views, points, pen)
        ours = np.asarray(draw())
        calls: dict[str, Callable[[], Any]] = {}
        differences = {}
        if pen == BINARY_PEN and setting.peer("numpy"):
            name, few = "NumPy loop over views", unpadded(points)
            calls[name] = functools.partial(looped_views, few)
            share = float(np.mean(calls[name]() != ours))
            differences[name] = checked(share, "maps", name)
        if cv2 := setting.peer("opencv"):
            name = "OpenCV"
            calls[name] = lambda: warped_views(cv2, image)
            differences[name] = checked(lost_ink(ours, calls[name]()), "turned pixels", name)
        moved = points.nbytes + ours.nbytes
        yield Work(row, draw, VIEWS, "views", calls, differences, moved=moved)


def _views(points: np.ndarray, pen: float) -> jax.Array:
    return sketch_views(points, pen=pen).block_until_ready()


def points(setting: Setting) -> Iterator[Work]:
    """Points from pixels, 1111 x 1111, on all cores; the peer only thins."""
    from skimage.morphology import skeletonize  # what ours needs too: without it there is no row

    images = [pixels_of(strokes(seed)) for seed in range(1 if setting.small else DRAWINGS)]
    inks = [ink_of(image) for image in images]
    cores = len(os.sched_getaffinity(0))

    def on_all_cores(function: Callable[[np.ndarray], Any], each: list[np.ndarray]) -> list[Any]:
        with ThreadPoolExecutor(cores) as pool:
            return list(pool.map(function, each))

    calls: dict[str, Callable[[], Any]] = {}
    if setting.peer("skimage"):
        calls["skeletonize alone, one core"] = lambda: [skeletonize(ink) for ink in inks]
        calls["skeletonize alone, all cores"] = lambda: on_all_cores(skeletonize, inks)
    found = on_all_cores(points_from_image, images)
    # Ours has more: strokes of two pixels on a slant, and areas, are lost by skeletonize alone.
    share = max(
        float(np.mean(_cells(skeletonize(ink)) & ~_lattice(*points[:, :2].T)))
        for points, ink in zip(found, inks, strict=True)
    )
    yield Work(
        "points",
        lambda: on_all_cores(points_from_image, images),
        len(images),
        "drawings",
        calls,
        dict.fromkeys(calls, checked(share, "points", "skeletonize")),
        moved=float(sum(x.nbytes for x in (*images, *found))),
    )


def _cells(thinned: np.ndarray) -> np.ndarray:
    """The lattice cells that thinned pixels' centres fall into."""
    rows, columns = ((2 * x + 1) * CANVAS // (2 * SIDE) for x in np.nonzero(thinned))
    return _lattice(columns, rows)


def _lattice(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    lattice = np.zeros((CANVAS, CANVAS), bool)
    lattice[rows, columns] = True
    return lattice


def voting(setting: Setting) -> Iterator[Work]:
    """A sketch's class by the vote of 18 views, points in, class out; the peers start from its pixels."""
    model, lines = alexnet(setting), strokes()
    batch, image = {"points": points_of(lines)[None]}, pixels_of(lines)
    views = np.asarray(sketch_views(batch["points"][0]))

    def ours() -> int:
        return int(vote(model, batch)[0].argmax())

    probabilities = np.asarray(vote(model, batch)[0])
    calls: dict[str, Callable[[], Any]] = {}
    differences = {}
    cv2 = setting.peer("opencv")
    if cv2:
        checked(lost_ink(views, warped_views(cv2, image)), "turned pixels", "OpenCV")
    for name, network in torch_networks(setting, model, dropout_rate=0.0).items():
        theirs = _voted(network, views)
        difference = relative_difference(probabilities, theirs)
        checked(difference, setting.kind("probabilities"), name)
        if cv2:
            who = f"OpenCV, {name}"
            calls[who] = lambda network=network: int(  # type: ignore[misc]
                _voted(network, warped_views(cv2, image)).argmax()
            )
        else:
            who = f"NumPy loop, {name}"
            few = unpadded(batch["points"][0])
            calls[who] = lambda network=network, few=few: int(  # type: ignore[misc]
                _voted(network, looped_views(few)).argmax()
            )
        differences[who] = difference
    yield Work(
        "voting",
        ours,
        1,
        "sketches",
        calls,
        differences,
        flops=sum(forward_flops(model, VIEWS).values()),
        moved=_voting_bytes(model),
        dtype=setting.dtype,
    )


def _voted(network: Any, views: np.ndarray) -> np.ndarray:
    """Mean probabilities [k] of grey views [v, h, w], in PyTorch after the network's input is made."""
    grey = views.astype(np.float32)[..., None]
    logits = network.logits(network.inputs(grey - CAFFE.pixels.mean_colour()))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).mean(axis=0)


def _voting_bytes(model: Model) -> float:
    pictures = jax.ShapeDtypeStruct((VIEWS, model.size, model.size), np.uint8)
    inputs = jax.eval_shape(model.backbone.preprocess, pictures)
    return parameter_bytes(model) + 4.0 * inputs.size
