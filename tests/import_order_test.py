"""The list in dsf_jax/__init__.py is the order of imports: complete, and never broken."""

import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "dsf_jax"


def listed():
    lines = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())).splitlines()
    return [f"dsf_jax.{line.split()[0]}" for line in lines if re.match(r"[\w.]+  +\S", line)]


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_list_names_every_module_once():
    assert sorted(listed()) == sorted(MODULES)


def test_packages_themselves_import_nothing():
    for path in PACKAGE.rglob("__init__.py"):
        assert not list(imported(ast.parse(path.read_text()))), path


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_up(module):
    order = listed()
    for name in imported(ast.parse(MODULES[module].read_text())):
        if name in MODULES:
            assert order.index(name) < order.index(module), f"{module} imports {name} from below"
        top = name.split(".")[0]
        assert top not in ("launch", "data_builders", "tests"), f"{module} imports {name}"


OWNERS = {
    "tensorflow_datasets": "dsf_jax.data.records",
    "orbax": "dsf_jax.training.checkpoints",
    "skimage": "dsf_jax.images.points",
    "cv2": "dsf_jax.models.edge_detector",
    "matplotlib": "dsf_jax.insight.plots",
    "grain": "dsf_jax.data.training_batches",
    "google": "dsf_jax.models.weight_files",
    "safetensors": "dsf_jax.export.load",
    "lancedb": "dsf_jax.gallery.store",
    "pyarrow": "dsf_jax.gallery.store",
    "fastapi": "dsf_jax.app.server",
    "pydantic": "dsf_jax.app.schemas",
    "tensorboardX": "dsf_jax.training.metrics_log",
}
ALSO = {
    "grain": {"dsf_jax.training.feature_cache", "dsf_jax.training.loop", "dsf_jax.training.start"},
    "safetensors": {"dsf_jax.export.write"},
    "skimage": {"dsf_jax.images.descriptors"},
    "pyarrow": {"dsf_jax.gallery.snapshot"},
    "matplotlib": {
        "dsf_jax.insight.benchmark_plots",
        "dsf_jax.insight.network_plots",
        "dsf_jax.insight.overviews",
        "dsf_jax.paper.figure_inputs",
        "dsf_jax.paper.inversion_figure",
    },
    "fastapi": {"dsf_jax.app.middleware"},
    "pydantic": {"dsf_jax.app.server"},
}


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_outside_library_has_one_owner(library):
    importers = {
        module
        for module, path in MODULES.items()
        if any(name.split(".")[0] == library for name in imported(ast.parse(path.read_text())))
    }
    assert importers <= {OWNERS[library]} | ALSO.get(library, set())


def test_only_parallel_calls_pmap():
    users = {module for module, path in MODULES.items() if "pmap(" in path.read_text()}
    assert users == {"dsf_jax.training.parallel"}
