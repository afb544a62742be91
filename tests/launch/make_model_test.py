"""launch.make_model from public files on a server of this test to a folder that travels, whatever stops it."""

import json
import os
import signal

import pytest

from dsf_jax.training.pretrained import from_pretrained
from tests.data.web import served
from tests.launch.scripts import wait_for
from tests.recipes.small import ACCEPTED, write_public_files, write_sketchy

pytestmark = pytest.mark.slow


def test_a_network_comes_out_whatever_stops_it(launch, tmp_path):
    sketchy, out = write_sketchy(tmp_path / "256x256"), tmp_path / "made"
    with served(write_public_files(tmp_path / "www")) as (address, handler):
        flags = {"recipe": "small", "out": out, "mirror": address, "workers": 1}
        launch("make_model", **flags).failed("sketchy has no direct address", "--sources=sketchy=")
        flags["sources"] = f"sketchy={sketchy}"
        launch("make_model", **flags).failed("CC BY 4.0", f"--accept_licences={ACCEPTED}")
        assert not out.exists() and not handler.asked
        flags["accept_licences"] = ACCEPTED
        zipped = "/csr.bu.edu/ftp/visda/2019/multi-source/sketch.zip"
        handler.faults[zipped] = 0  # the connection breaks at once
        launch("make_model", **flags).failed("sketch.zip", "broke off", "try again")
        handler.faults[zipped] = 1000  # and then again and again
        launch.start("make_model", **flags)
        wait_for(lambda: (out / "run").exists())
        os.kill(launch._running, signal.SIGKILL)
        assert launch.wait().status == -signal.SIGKILL
        asked = list(handler.asked)
        told = launch("make_model", **flags).succeeded()
        assert handler.asked == asked, "nothing is downloaded twice"
    assert "domainnet: there already" in told and "written to" in told
    model = from_pretrained(out / "model")
    assert model.class_names == ("alarm clock", "bear (animal)")
    (score,) = model.card.retrieval
    assert score.sketches == ("domainnet/sketch [test]",) and score.queries == 1
    assert json.loads((out / "class_map.json").read_text())["bear (animal)"]["sketchy"] == ["bear"]
    assert "there already" in launch("make_model", **flags).succeeded()
    launch("make_model", **{**flags, "weights": "x.pth"}).failed("begun with weights='random'")


def test_a_dry_run_says_what_it_takes(launch, tmp_path):
    flags = {"out": tmp_path / "made", "dry_run": True}
    told = launch("make_model", recipe="general", **flags).succeeded()
    for words in ("8.5 GB", "sketchy, to give by --sources", "CC BY 4.0", "hours on two CPU cores"):
        assert words in told
    assert "none; give --weights" in launch("make_model", recipe="paper", **flags).succeeded()
    launch("make_model", recipe="tiny", sources=f"openmojis={tmp_path}", **flags).failed(
        "sources names 'openmojis', which is not in this recipe"
    )
    launch("make_model", recipe="tiny", sources="openmoji", out=tmp_path / "made").failed(
        "not of the form SET=PATH"
    )
    assert not (tmp_path / "made").exists()
