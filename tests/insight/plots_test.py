"""Figures: the panels, what is in them and round them, and the same bytes from the same input."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from dsf_jax.evaluation.statistics import NO_INTERVAL
from dsf_jax.images.points import points_from_image
from dsf_jax.images.resize import BINARY_PEN, edge_preserving_resize
from dsf_jax.images.views import VIEW_ANGLES
from dsf_jax.insight.plots import (
    HIT,
    MISS,
    contact_sheet,
    png_bytes,
    ranked_results,
    resizing,
    retrieval_curves,
    save_figure,
    short,
    training_curves,
    voted_views,
)
from tests.insight.panels import check_equal_files, pictures, shown

pytestmark = pytest.mark.slow  # drawn by matplotlib at full size


def sketches(count, side=100):
    """Slanting strokes on white."""
    drawn = np.full((count, side, side), 255, np.uint8)
    for i in range(count):
        along = np.arange(15, side - 15)
        for width in range(9):
            drawn[i, along, (along + 10 * i + width) % side] = 0
    return list(drawn)


def frame(axes):
    """Colour and width of a panel's frame, which is the same on all four sides."""
    sides = {(spine.get_edgecolor(), spine.get_linewidth()) for spine in axes.spines.values()}
    assert len(sides) == 1
    return sides.pop()


METRICS = [
    {"step": 10, "epoch": 0.5, "loss": 3.0, "accuracy": 0.1},
    {"step": 20, "epoch": 1.0, "loss": 2.5, "accuracy": 0.3},
    {"step": 30, "epoch": 1.5, "loss": 1.0, "accuracy": 0.7},
]


def test_every_query_has_its_row_of_results():
    queries, results = pictures(2), [pictures(3, 1), pictures(3, 2)]
    figure = ranked_results(queries, results, title="nearest photos")
    expected = [
        image for query, row in zip(queries, results, strict=True) for image in (query, *row)
    ]
    assert len(shown(figure)) == 8
    for got, want in zip(shown(figure), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    assert [axes.get_title() for axes in figure.axes[:4]] == ["drawn", "1", "2", "3"]
    assert figure.get_suptitle() == "nearest photos"
    assert all(len(axes.get_xticks()) == len(axes.get_yticks()) == 0 for axes in figure.axes)


def test_hits_are_framed_and_misses_are_not():
    hits = [[True, False, True], [False, False, True]]
    figure = ranked_results(pictures(2), [pictures(3, 1), pictures(3, 2)], hits)
    for i, row in enumerate(hits):
        for j, hit in enumerate(row):
            colour, width = frame(figure.axes[4 * i + 1 + j])
            assert colour == to_rgba(HIT if hit else MISS)
            assert (width > 2) == hit
        assert frame(figure.axes[4 * i])[0] == to_rgba("black")


def test_without_hits_nothing_is_framed():
    figure = ranked_results(pictures(1), [pictures(3, 1)])
    assert {frame(axes)[0] for axes in figure.axes[1:]} == {to_rgba(MISS)}


def test_rows_of_different_lengths_leave_places_empty():
    figure = ranked_results(
        pictures(3), [pictures(1, 1), pictures(4, 2), []], [[True], [False] * 4, []]
    )
    assert len(figure.axes) == 15
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 0, 0, 0, *[1] * 5, 1, 0, 0, 0, 0]
    assert [axes.axison for axes in figure.axes] == [bool(axes.images) for axes in figure.axes]


def test_grey_pictures_are_shown_on_the_full_scale():
    dim = np.full((5, 5), 100, np.uint8)
    dim[0] = 110
    figure = ranked_results([dim], [[dim]])
    assert [image.get_clim() for axes in figure.axes for image in axes.images] == [(0, 255)] * 2


def test_a_picture_that_is_gone_is_a_blank_with_its_name():
    picture = pictures(1)[0]
    names = ["beach.jpg", "a" * 300 + ".png", "2$ + 3$.png"]
    figure = ranked_results([picture], [[*names[:1], picture, *names[1:]]])
    blanks = [figure.axes[i] for i in (1, 3, 4)]
    assert blanks[0].texts[0].get_text() == "beach.jpg" and not figure.axes[2].texts
    assert all(image.get_array().min() == 255 for axes in blanks for image in axes.images)
    assert len(blanks[1].texts[0].get_text()) < 120
    assert png_bytes(figure)


def test_dollars_are_no_mathematics():
    """Class names are people's: matplotlib refuses some of what stands between two dollars."""
    figure = contact_sheet([np.zeros((4, 4), np.uint8)], ["a$^$b"], title="US$ and A$")
    assert png_bytes(figure).startswith(b"\x89PNG")
    assert short("a$^$b") == r"a\$^\$b"


@pytest.mark.parametrize("count", [1, 2])
def test_a_sketch_goes_through_eight_resizings(count):
    drawn = sketches(count)
    figure = resizing(drawn, size=50)
    assert len(figure.axes) == len(shown(figure)) == 8 * count
    names = [axes.get_title() for axes in figure.axes[:8]]
    assert names[0] == "original" and names[-3:] == [
        "edge-preserving",
        "thinned",
        "drawn with a pen",
    ]
    assert len(set(names)) == 8
    for i, sketch in enumerate(drawn):
        original, cubic, *binary, kept, thinned, pen = shown(figure)[8 * i : 8 * i + 8]
        np.testing.assert_array_equal(original, sketch)
        assert {image.shape for image in (cubic, *binary, kept, thinned, pen)} == {(50, 50)}
        assert len(np.unique(cubic)) > 2 and len(np.unique(pen)) > 2
        for image in (*binary, kept, thinned):
            assert set(np.unique(image)) == {0, 255}
        ink = [(image == 0).sum() for image in (*binary, kept, thinned)]
        assert ink[0] < ink[1] < ink[2], "the higher the level, the more is ink"
        assert 0 < ink[4] < ink[3], "thinning leaves less ink"


def test_the_last_column_is_the_resizing_that_the_network_sees():
    sketch = sketches(1, side=681)
    *_, all_ink, _, seen = shown(resizing(sketch, size=100))
    ink = np.argwhere(sketch[0] == 0)[:, ::-1].astype(np.uint16)
    np.testing.assert_array_equal(all_ink, edge_preserving_resize(ink, size=100, pen=BINARY_PEN))
    points = points_from_image(sketch[0])
    np.testing.assert_array_equal(seen, edge_preserving_resize(points, size=100))


@pytest.mark.parametrize(("count", "columns", "places"), [(5, 3, 6), (3, 3, 3), (1, 4, 4)])
def test_a_contact_sheet_shows_every_image_with_its_caption(count, columns, places):
    captions = [f"class {i}" for i in range(count)]
    figure = contact_sheet(pictures(count), captions, columns=columns, title="sheet")
    assert len(figure.axes) == places and figure.get_suptitle() == "sheet"
    for got, want in zip(shown(figure), pictures(count), strict=True):
        np.testing.assert_array_equal(got, want)
    assert [axes.get_title() for axes in figure.axes] == captions + [""] * (places - count)
    assert [axes.axison for axes in figure.axes] == [i < count for i in range(places)]


def test_curves_show_loss_and_accuracy_against_the_epoch():
    held_out = {"epoch": 1.25, "held_out_loss": 2.5, "held_out_accuracy": 0.25}
    for metrics, labels in (
        (METRICS, ["training"]),
        ([*METRICS, held_out], ["training", "held out"]),
    ):
        figure = training_curves(metrics)
        assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
        for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
            np.testing.assert_array_equal(axes.lines[0].get_xdata(), [0.5, 1.0, 1.5])
            np.testing.assert_array_equal(axes.lines[0].get_ydata(), [m[name] for m in METRICS])
            for line in axes.lines[1:]:
                np.testing.assert_array_equal(line.get_xdata(), [1.25])
                np.testing.assert_array_equal(line.get_ydata(), [held_out[f"held_out_{name}"]])
            assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
            assert axes.get_xlabel() == "epoch" and axes.get_ylim()[0] == 0
            highest = max(max(line.get_ydata()) for line in axes.lines)
            assert axes.get_ylim()[1] > 1.05 * highest  # marks are not cut


CURVES = {
    "S": {"car": [(0, 1.0, 1.0, 1.0), (1000, 0.5, 0.4, 0.7)], "bicycle": [(0, 1.0, 1.0, 1.0)]},
    "S+I": {"car": [(0, 1.0, 1.0, 1.0), (1000, 0.8, 0.7, 0.9)]},
}


def test_retrieval_curves_have_a_panel_a_class_and_a_line_a_network():
    figure = retrieval_curves(CURVES, score="bounded mAP@150")
    assert [axes.get_title() for axes in figure.axes] == ["car", "bicycle"]
    for axes, networks in zip(figure.axes, (["S", "S+I"], ["S"]), strict=True):
        # Of the bicycle there is one value, with an interval of no width.
        labels = networks if len(networks) > 1 else [f"S ({NO_INTERVAL})"]
        assert [line.get_label() for line in axes.lines] == labels
        assert axes.get_ylabel() == "bounded mAP@150" and axes.get_ylim()[0] == 0
        for line, network, band in zip(axes.lines, networks, axes.collections, strict=True):
            points = np.array(CURVES[network][axes.get_title()])
            np.testing.assert_array_equal(line.get_xydata(), points[:, :2])
            # The band's outline goes along low and back along high.
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
            assert {tuple(p) for p in points[:, [0, 2]].tolist()} <= corners
            assert {tuple(p) for p in points[:, [0, 3]].tolist()} <= corners


def test_captions_stand_left_of_the_queries():
    figure = ranked_results(pictures(2), [pictures(3, 1)] * 2, captions=["cat\nAP .5", "dog"])
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "cat\nAP .5",
        *[""] * 3,
        "dog",
        *[""] * 3,
    ]


def votes(seed=0, classes=7):
    drawn = np.random.default_rng(seed).random((18, classes)) ** 4
    return drawn / drawn.sum(axis=1, keepdims=True)


def pieces(figure):
    """{class: the widths of its bar's pieces, in order}."""
    axes = figure.axes[-1]
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {
        name: [p.get_width() for p in axes.patches if round(p.get_y() + p.get_height() / 2) == i]
        for i, name in enumerate(names)
    }


def test_the_votes_of_18_views_add_up_to_the_result():
    probabilities, names = votes(), [f"class {i}" for i in range(7)]
    figure = voted_views(np.stack(pictures(1) * 18), probabilities, names, top=4, title="cat")
    mean = probabilities.mean(axis=0)
    best = np.argsort(-mean)[:4]
    bars = pieces(figure)
    assert list(bars) == [names[i] for i in best]
    for i in best:
        np.testing.assert_allclose(bars[names[i]], probabilities[:, i] / 18)
        assert sum(bars[names[i]]) == pytest.approx(mean[i])
    totals = [text.get_text() for text in figure.axes[-1].texts]
    assert totals == [f"{mean[i]:.3f}" for i in best]
    assert figure.get_suptitle() == "cat"


@pytest.mark.parametrize("classes", [2, 400])
def test_the_numbers_of_votes_stand_inside_of_the_frame(classes):
    probabilities = np.full((18, classes), 1 / classes)
    figure = voted_views(
        np.stack(pictures(1) * 18), probabilities, [f"{i}" for i in range(classes)]
    )
    figure.canvas.draw()
    axes = figure.axes[-1]
    right = axes.get_window_extent().x1
    for text in axes.texts:
        assert text.get_window_extent().x1 <= right


def test_every_view_says_what_it_is_taken_for():
    probabilities = votes(1, classes=3)
    views = np.random.default_rng(0).integers(0, 256, (18, 8, 8)).astype(np.uint8)
    figure = voted_views(views, probabilities, ["ant", "bee", "cat"])
    result = probabilities.mean(axis=0).argmax()
    # The grid has a row of plain views and one of flipped ones, which take turns in the list.
    for place, axes in enumerate(figure.axes[:18]):
        i = 2 * (place % 9) + place // 9
        np.testing.assert_array_equal(axes.images[0].get_array(), views[i])
        winner = probabilities[i].argmax()
        expected = f"{['ant', 'bee', 'cat'][winner]}\n{probabilities[i].max():.2f}"
        assert axes.get_xlabel() == expected
        assert (frame(axes)[0] == to_rgba(HIT)) == (winner == result)
    angles = [axes.get_title() for axes in figure.axes[:9]]
    assert angles == [f"{angle:g}°" for angle in VIEW_ANGLES[::2]] and "0°" in angles


def test_long_names_are_cut():
    assert short("cat") == "cat" and len(short("x" * 40)) == 18
    assert short("leftwards arrow with hook", 11) == "leftwards…"


FIGURES = {
    "ranked": lambda: ranked_results(
        pictures(2), [pictures(3, 1), pictures(3, 2)], [[True, False, True]] * 2, title="é ж"
    ),
    "resizing": lambda: resizing(sketches(1), size=50),
    "sheet": lambda: contact_sheet(pictures(4), ["a", "b", "c", "d"], columns=3),
    "curves": lambda: training_curves(METRICS),
    "retrieval": lambda: retrieval_curves(CURVES, score="bounded mAP@150"),
    "views": lambda: voted_views(np.stack(pictures(1) * 18), votes(), list("abcdefg")),
    "one line of metrics": lambda: training_curves(METRICS[:1]),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")  # the machine's fonts, not ours
def test_equal_figures_are_equal_files(tmp_path, name):
    check_equal_files(FIGURES[name], tmp_path)


def test_other_hits_make_another_file(tmp_path):
    for file, hits in (("a.png", [[True]]), ("b.png", [[False]])):
        save_figure(ranked_results(pictures(1), [pictures(1, 1)], hits), str(tmp_path / file))
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    # The frame is seen: there is green in the picture.
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    green = np.round(255 * np.array(to_rgba(HIT)[:3])).astype(np.uint8)
    assert (pixels == green[None]).all(axis=1).sum() > 50
