"""One network, one gallery and one server for all tests of the page."""

import pytest

from dsf_jax.app.searcher import Searcher
from dsf_jax.app.server import create_app
from dsf_jax.models.model import init_model
from tests.app import made


@pytest.fixture(scope="session")
def model():
    return init_model(made.CONFIG, seed=0)


@pytest.fixture(scope="session")
def searcher(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    uri = tmp_path_factory.mktemp("gallery") / "gallery"
    return Searcher(model, made.gallery(uri, model, made.pictures(folder)))


@pytest.fixture(scope="session")
def address(searcher):
    with made.serving(create_app(searcher)) as address:
        yield address
