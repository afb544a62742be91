"""An SVG from outside is drawn, or refused in a line; it reaches nothing outside itself."""

import base64
import gzip
import io
import subprocess

import numpy as np
import pytest
from PIL import Image

from dsf_jax.data import vector_pictures
from dsf_jax.data.pictures import decode_picture
from dsf_jax.data.vector_pictures import render_svg

pytest.importorskip("resvg_py", reason="needs resvg-py, of the extra `formats`")
NAMES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def svg(body, size='viewBox="0 0 20 10"', before=""):
    return f"{before}<svg {NAMES} {size}>{body}</svg>".encode()


def png(path=None):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(path or buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_it_is_drawn_on_white():
    style = "<style>.ink{fill:#00f}</style>"
    content = svg(
        f'{style}<rect class="ink" width="5" height="10"/>', before="<!-- a drawing -->\n"
    )
    plain, packed = (decode_picture(io.BytesIO(c), "a") for c in (content, gzip.compress(content)))
    assert plain.shape == (512, 1024, 3)
    np.testing.assert_array_equal(plain[:, :250], np.broadcast_to((0, 0, 255), (512, 250, 3)))
    assert (plain[:, 260:] == 255).all()
    np.testing.assert_array_equal(plain, packed)


@pytest.mark.parametrize(
    ("size", "width"),
    [
        ('width="200mm" height="400mm" viewBox="0 0 200 400"', "100"),
        ('width="4in" height="2in"', "2in"),
        ('width="96pt" height="96pt"', "64px"),
        ('viewBox="0 0 192 96"', "2.54cm"),
    ],
)
def test_units_of_length_are_those_of_css(size, width):
    content = svg(f'<rect width="{width}" height="100%"/>', size=size)
    read = decode_picture(io.BytesIO(content), "a")
    read = read[1:-1]  # at the borders a pixel may be drawn in part
    half = read.shape[1] // 2
    assert (read[:, : half - 1] == 0).all() and (read[:, half + 1 :] == 255).all()


def test_it_shows_pictures_within_it_and_none_from_outside(tmp_path):
    png(tmp_path / "red.png")
    outside = [
        str(tmp_path / "red.png"),
        (tmp_path / "red.png").as_uri(),
        "http://localhost/red.png",
    ]
    outside.append("data:image/svg+xml;base64," + base64.b64encode(svg("")).decode())
    images = "".join(
        f'<image {kind}="{place}" width="10" height="10"/>'
        for place in outside for kind in ("href", "xlink:href")
    )  # fmt: skip
    within = f'<image xlink:href="data:image/png;base64,{png()}" x="10" width="10" height="10"/>'
    read = decode_picture(io.BytesIO(svg(images + within)), "a")
    assert (read[:, :500] == 255).all() and (read[250, 750] == (255, 0, 0)).all()


@pytest.mark.slow
def test_bombs_and_damage_end_in_a_line():
    entities = "".join(f'<!ENTITY e{i + 1} "' + f"&e{i};" * 10 + '">' for i in range(9))
    laughs = f'<!DOCTYPE svg [<!ENTITY e0 "ha">{entities}]>'
    outside = '<!DOCTYPE svg [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    uses = "".join(
        f'<g id="g{i + 1}">' + f'<use xlink:href="#g{i}"/>' * 10 + "</g>" for i in range(8)
    )
    for content in (
        svg("<text>&e9;</text>", before=laughs),
        svg("<text>&e;</text>", before=outside),
        svg(f'<g id="g0"><rect width="9" height="9"/></g>{uses}'),
        svg("<g>" * 50_000 + "</g>" * 50_000),
        gzip.compress(b"<svg>" + bytes(40 << 20)),
        b"<svg ",
    ):
        with pytest.raises(ValueError, match=r"^a\.svg cannot be read as a picture \(.+\); ") as e:
            decode_picture(io.BytesIO(content), "a.svg")
        assert "Traceback" not in str(e.value)


def test_what_takes_too_long_or_too_much_is_stopped(monkeypatch):
    with pytest.raises(ValueError, match="it has more than 32 MiB"):
        render_svg(bytes(vector_pictures.MAX_BYTES + 1))

    def hangs(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    def is_killed(command, **options):
        return subprocess.CompletedProcess(command, -9, b"", b"")

    for run, reason in ((hangs, "more than 10 s to draw"), (is_killed, "10 s or 2 GiB to draw")):
        monkeypatch.setattr(subprocess, "run", run)
        with pytest.raises(ValueError, match=reason):
            render_svg(svg(""))
