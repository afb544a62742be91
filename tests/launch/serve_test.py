"""launch.serve: the quickstart's pictures on a page, or the line that says what is missing."""

import json
import os
import re
import shutil
import signal
import socket
import time
import urllib.request

import pytest

from dsf_jax.app.schemas import HOUSE

pytestmark = pytest.mark.slow


@pytest.fixture
def quickstart(run, data_dir, tmp_path):
    """A run with its data beside it, as the quickstart leaves them."""
    shutil.copytree(run[1], tmp_path / "quickstart")
    (tmp_path / "quickstart" / "data").symlink_to(data_dir)
    return tmp_path / "quickstart"


def test_the_quickstarts_pictures_until_it_is_interrupted(launch, quickstart):
    flags = {"query_views": "mirrored", "duplicates": "separate"}
    process = launch.start("serve", "--nowarn_far", checkpoint=quickstart, port=0, **flags)
    deadline = time.monotonic() + 200
    while "open http" not in launch.out.read_text():
        os.kill(process, 0)
        assert time.monotonic() < deadline, launch.err.read_text()
        time.sleep(0.1)
    told = launch.out.read_text()
    assert re.match(r"8 pictures, ready after \d+\.\d s: open http://127.0.0.1:\d+ \(Ctrl-C", told)
    address = re.search(r"http://[\d.:]+", told)[0]
    with urllib.request.urlopen(f"{address}/api/health") as reply:
        health = json.load(reply)
        assert "5 edge maps of 5 classes (openmoji)" in health.pop("expectation")
        assert health == {
            "status": "ok", "pictures": 8, "labels": 8, "classes": 5, "layer": "L6+L7",
            "query_views": "mirrored", "words": False,
        }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/api/search", json.dumps(HOUSE).encode(), headers)
    with urllib.request.urlopen(request) as reply:
        found = json.load(reply)
        assert len(found["results"]) == 8 and not found["nothing_near"]
    with urllib.request.urlopen(address) as reply:
        assert b"Draw, and find" in reply.read()
    labels = {path.name for path in (quickstart / "pictures").iterdir()}
    assert {"red apple", "fish", "key"} <= labels
    os.kill(process, signal.SIGINT)
    result = launch.wait()
    assert result.status == 0 and result.lines == ["ended"], result.err


def test_without_the_quickstart(launch, run):
    launch("serve", checkpoint=run[1], port=0).failed(
        "data is not there", "make quickstart", "--gallery"
    )


def test_a_gallery_that_is_not_there(launch, run, tmp_path):
    launch("serve", checkpoint=run[1], gallery=tmp_path / "none", port=0).failed(tmp_path / "none")


def test_a_port_that_is_taken(launch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        launch("serve", port=port).failed(port, "cannot be listened on", "--port")
