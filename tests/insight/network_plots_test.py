"""Figures of a network's inside: what each panel shows, and the bars and errors beside it."""

import numpy as np
import pytest

from dsf_jax.evaluation.statistics import NO_INTERVAL, Measure
from dsf_jax.insight.network_plots import Inverted, filter_panels, inversions, shared_activations
from dsf_jax.insight.similarity import SharedMaps
from tests.insight.panels import check_equal_files, pictures, shown


def shared(count=5, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (2, count, 6, 6)).astype(np.uint8)
    return SharedMaps(np.arange(count), *drawn)


GAPS = {
    "before": {"relu1": Measure(0.1, 0.05, 0.2), "relu6": Measure(-0.1, -0.2, 0.0)},
    "after": {"relu1": Measure(0.3, 0.2, 0.45), "relu6": Measure(0.5, 0.4, 0.55)},
}


def test_sketch_and_photo_show_the_same_channels_side_by_side():
    maps = {"relu1": shared(), "relu2": shared(seed=1)}
    sketch, photo = pictures(2)
    figure = shared_activations(sketch, photo, maps, GAPS, title="cat")
    assert len(figure.axes) == 2 + 2 * 2 + 1
    titles = [axes.get_title() for axes in figure.axes]
    for name, picture in zip(("sketch", "photo"), pictures(2), strict=True):
        np.testing.assert_array_equal(
            figure.axes[titles.index(name)].images[0].get_array(), picture
        )
        for layer, of in maps.items():
            image = figure.axes[titles.index(f"{layer}, {name}")].images[0].get_array()
            assert image.shape == (2 * 6 + 1, 3 * 6 + 2)
            tiles = getattr(of, name)
            np.testing.assert_array_equal(image[:6, :6], tiles[0])
            np.testing.assert_array_equal(image[7:, 7:13], tiles[4])
            assert (image[7:, 13:] == 255).all()  # no sixth tile


@pytest.mark.parametrize("networks", [("after",), ("before", "after")])
def test_gaps_are_bars_with_their_intervals(networks):
    gaps = {name: GAPS[name] for name in networks}
    sketch, photo = pictures(2)
    axes = shared_activations(sketch, photo, {"relu1": shared()}, gaps).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["relu1", "relu6"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(networks)
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    assert heights == [own.value for name in networks for own in GAPS[name].values()]
    ends = {
        tuple(np.round(part.vertices[:, 1], 6).tolist())
        for group in axes.collections
        for part in group.get_paths()
    }
    assert ends >= {(own.low, own.high) for name in networks for own in GAPS[name].values()}


def test_a_layer_of_one_network_has_its_bar_alone():
    gaps = {
        "before": GAPS["before"],
        "after": GAPS["after"] | {"embedding": Measure(0.6, 0.5, 0.7)},
    }
    sketch, photo = pictures(2)
    axes = shared_activations(sketch, photo, {"relu1": shared()}, gaps).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["relu1", "relu6", "embedding"]
    bars = {bar.get_height(): bar.get_x() + bar.get_width() / 2 for bar in axes.patches}  # type: ignore[attr-defined]
    assert len(bars) == 5
    assert bars[0.5] - bars[0.3] == pytest.approx(1) == bars[0.6] - bars[0.5]


def test_an_interval_without_a_width_is_said_and_not_drawn():
    gaps = {"after": {"relu1": Measure(0.3, 0.3, 0.3), "relu6": Measure(0.5, 0.4, 0.55)}}
    sketch, photo = pictures(2)
    axes = shared_activations(sketch, photo, {"relu1": shared()}, gaps).axes[-1]
    ((said, place),) = [(text.get_text(), text.get_position()) for text in axes.texts]
    assert said == NO_INTERVAL and place == (0, 0.3)
    (whiskers,) = axes.collections
    ends = [part.vertices[:, 1] for part in whiskers.get_paths()]
    assert len(ends) == 2 and np.isnan(ends[0]).all()
    np.testing.assert_allclose(ends[1], [0.4, 0.55])


def test_without_a_second_class_there_are_no_bars():
    sketch, photo = pictures(2)
    figure = shared_activations(sketch, photo, {"relu1": shared()}, {})
    assert [axes.get_title() for axes in figure.axes] == [
        "sketch", "relu1, sketch", "photo", "relu1, photo",
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "shape"), [(64, (8, 8)), (96, (8, 12)), (5, (1, 5))])
def test_filters_fill_their_rows(count, shape):
    tiles = np.random.default_rng(0).integers(0, 256, (count, 3, 3, 3)).astype(np.uint8)
    figure = filter_panels({"before": tiles, "after": 255 - tiles}, title="moved")
    assert [axes.get_title() for axes in figure.axes] == ["before", "after"]
    for image, expected in zip(shown(figure), (tiles, 255 - tiles), strict=True):
        assert image.shape == (shape[0] * 4 - 1, shape[1] * 4 - 1, 3)
        np.testing.assert_array_equal(image[-3:, -3:], expected[-1])


def test_reconstructions_stand_beside_their_errors():
    found = {
        layer: [Inverted(picture, 0.1 * i + error, 0.2) for i, picture in enumerate(pictures(2, 3))]
        for layer, error in (("conv1", 0.012), ("fc8", 0.5))
    }
    figure = inversions(
        list(zip(["sketch of cat", "photo of cat"], pictures(2), strict=True)), found
    )
    assert [axes.get_title() for axes in figure.axes[:3]] == ["original", "conv1", "fc8"]
    assert [axes.get_xlabel() for axes in figure.axes] == [
        "sketch of cat", "0.012 (20 %)", "0.500 (20 %)",
        "photo of cat", "0.112 (20 %)", "0.600 (20 %)",
    ]  # fmt: skip
    for got, want in zip(shown(figure)[1::3], pictures(2, 3), strict=True):
        np.testing.assert_array_equal(got, want)


FIGURES = {
    "activations": lambda: shared_activations(
        pictures(2)[0], pictures(2)[1], {"relu1": shared()}, GAPS
    ),
    "filters": lambda: filter_panels({"after": np.stack([pictures(2)[1][:3, :3]] * 4)}),
    "inversions": lambda: inversions(
        [("a", pictures(1)[0])], {"conv1": [Inverted(pictures(2)[1], 0.1, 0.2)]}
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_equal_figures_are_equal_files(tmp_path, name):
    check_equal_files(FIGURES[name], tmp_path)
