"""Imports point only up the lists in dsf_jax/__init__.py and data_builders/__init__.py, also those within
functions; launch/ holds scripts, which nothing imports.
"""

import ast
import functools
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("dsf_jax", "data_builders", "launch")
# What builders may import of the library: prepared records are the contract between the two.
FOR_BUILDERS = (
    "dsf_jax.data.files",
    "dsf_jax.data.downloads",
    "dsf_jax.data.picture_folders",
    "dsf_jax.data.picture_formats",
    "dsf_jax.data.pictures",
    "dsf_jax.data.records",
    "dsf_jax.images",
    "dsf_jax.models.edge_detector",
)
# All else in launch/ is a script.
NO_SCRIPTS = (
    "launch.streams",
    "launch.shared_flags",
    "launch.common",
    "launch.distributed",
    "launch.screen",
    "launch.benchmarks",
)


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def modules_of(package):
    paths = (ROOT / package).rglob("*.py")
    return {name_of(path): path for path in paths if path.name != "__init__.py"}


def imported(tree):
    """Names that are imported anywhere in a module, in its functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name, places):
    """Whether a module is one of several, or in a folder that is."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def listed(package):
    """The entries of a package's list: modules, and in data_builders folders."""
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    entries = re.findall(r"^([\w.]+)  +\S", docstring or "", re.MULTILINE)
    return [f"{package}.{entry}" for entry in entries]


MODULES = modules_of("dsf_jax")
ALL_MODULES = {name: path for package in PACKAGES for name, path in modules_of(package).items()}
SCRIPTS = {name for name in modules_of("launch") if not within(name, NO_SCRIPTS)}


@functools.cache  # not read when tests are collected, which every worker does
def imported_by(module):
    """Names that a module of ours imports."""
    return frozenset(imported(ast.parse(ALL_MODULES[module].read_text())))


def ours(module):
    """Modules of ours that it imports."""
    return imported_by(module) & set(ALL_MODULES)


def test_the_list_names_every_module_once():
    assert sorted(listed("dsf_jax")) == sorted(MODULES)


def test_the_list_of_builders_names_every_module_and_folder_once():
    package = ROOT / "data_builders"
    there = [path for path in package.iterdir() if any(path.glob("*.py")) or path.suffix == ".py"]
    names = [name_of(path) for path in there if path.name != "__init__.py"]
    assert sorted(listed("data_builders")) == sorted(names)


def test_packages_themselves_import_nothing():
    for path in (ROOT / "dsf_jax").rglob("__init__.py"):
        assert not list(imported(ast.parse(path.read_text()))), path


def test_launch_itself_prepares_the_process_and_no_more():
    """Before a script's own imports, which take a second, may be interrupted or open files."""
    first = {"launch.streams": "launch/streams.py", "dsf_jax.huge_pages": "dsf_jax/huge_pages.py"}
    for path in (ROOT / "launch").rglob("__init__.py"):
        names = {name for name in imported(ast.parse(path.read_text())) if name != "sys"}
        assert all(within(name, ("launch", *first)) for name in names), path
    for file in first.values():
        names = imported(ast.parse((ROOT / file).read_text()))
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_up(module):
    order = listed("dsf_jax")
    for name in ours(module) & set(MODULES):
        assert order.index(name) < order.index(module), f"{module} imports {name} from below"
    for name in imported_by(module):
        assert not within(name, ("launch", "data_builders", "tests")), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(modules_of("data_builders")))
def test_builders_import_up_and_little_of_the_library(module):
    order = listed("data_builders")

    def entry(name):
        return next(i for i, place in enumerate(order) if within(name, (place,)))

    for name in ours(module):
        if within(name, ("data_builders",)):
            below = entry(name) > entry(module)
            assert not below, f"{module} imports {name} from below"
            # A builder's folder has modules of its own; other builders' it leaves alone.
            if entry(name) != entry(module):
                assert name in order, f"{module} imports {name} of another builder"
        else:
            assert within(name, FOR_BUILDERS), f"{module} imports {name}"


@pytest.mark.parametrize("module", sorted(modules_of("launch")))
def test_nothing_imports_a_script_and_what_scripts_share_imports_up(module):
    places = [i for i, place in enumerate(NO_SCRIPTS) if within(module, (place,))]
    allowed = NO_SCRIPTS[: places[0] + 1] if places else NO_SCRIPTS
    for name in ours(module):
        if within(name, ("launch",)):
            assert within(name, allowed), f"{module} imports {name}"
    if not places:
        source = ALL_MODULES[module].read_text()
        assert 'if __name__ == "__main__":' in source and "common.run(main" in source


def test_no_module_imports_itself_by_way_of_others():
    """Lists cannot say it of the modules within a builder's folder, nor of launch/benchmarks."""
    left = {name: set(ours(name)) for name in ALL_MODULES}
    while ready := [name for name, names in left.items() if not names & set(left)]:
        for name in ready:
            del left[name]
    assert not left, f"imports go round in a circle among {', '.join(sorted(left))}"


def test_scripts_are_found():
    assert {"launch.train", "launch.evaluate", "launch.build_data"} <= SCRIPTS


OWNERS = {
    "tensorflow_datasets": "dsf_jax.data.records",
    "orbax": "dsf_jax.training.checkpoints",
    "skimage": "dsf_jax.images.thinning",
    "sklearn": "dsf_jax.evaluation.fisher_vectors",
    "cv2": "dsf_jax.models.edge_detector",
    "matplotlib": "dsf_jax.insight.plots",
    "grain": "dsf_jax.data.training_batches",
    "google": "dsf_jax.models.weight_files.caffemodel",
    "safetensors": "dsf_jax.export.load",
    "lancedb": "dsf_jax.gallery.store",
    "pyarrow": "dsf_jax.gallery.store",
    "pillow_heif": "dsf_jax.data.pictures",
    "pillow_jxl": "dsf_jax.data.pictures",
    "rawpy": "dsf_jax.data.raw_pictures",
    "resvg_py": "dsf_jax.data.vector_pictures",
    "watchfiles": "dsf_jax.gallery.watch",
    "fastapi": "dsf_jax.app.routes",
    "pydantic": "dsf_jax.app.schemas",
    "anywidget": "dsf_jax.app.notebook",
    "jax2onnx": "dsf_jax.export.onnx_file",
    "tensorboardX": "dsf_jax.training.metrics_log",
}
ALSO = {
    "grain": {
        "dsf_jax.data.batch_orders",
        "dsf_jax.training.feature_cache",
        "dsf_jax.training.loop",
        "dsf_jax.training.start",
    },
    "safetensors": {
        "dsf_jax.export.write",
        "dsf_jax.models.weight_files.hugging_face",
        "dsf_jax.training.pretrained",
    },
    "skimage": {"dsf_jax.images.descriptors", "dsf_jax.evaluation.fisher_vectors"},
    "pyarrow": {"dsf_jax.gallery.listing"},
    "matplotlib": {
        "dsf_jax.insight.benchmark_plots",
        "dsf_jax.insight.lettering",
        "dsf_jax.insight.network_plots",
        "dsf_jax.insight.overviews",
        "dsf_jax.paper.figure_inputs",
        "dsf_jax.paper.inversion_figure",
    },
    "fastapi": {
        f"dsf_jax.app.{name}" for name in ("errors", "middleware", "request_body", "server")
    },
    "pydantic": {"dsf_jax.app.errors"},
}


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_each_outside_library_has_one_owner(library):
    importers = {
        module
        for module in MODULES
        if any(name.split(".")[0] == library for name in imported_by(module))
    }
    assert importers <= {OWNERS[library]} | ALSO.get(library, set())


def test_only_parallel_calls_pmap():
    users = {module for module, path in MODULES.items() if "pmap(" in path.read_text()}
    assert users == {"dsf_jax.training.parallel"}


# What takes long to import, and only some of those need who import the modules below.
HEAVY = (
    "lance_namespace", "lancedb", "matplotlib", "orbax", "pandas", "scipy.linalg", "skimage",
    "tensorflow", "tensorflow_datasets", "torch",
)  # fmt: skip
NETWORKS = ("flax", "jax", "jaxlib", "numpy", "optax")


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("sys.argv = ['dsf', '--help']; from dsf_jax.__main__ import main; main()", NETWORKS),
        pytest.param("import dsf_jax.gallery.gallery", (), marks=pytest.mark.slow),
        pytest.param("import dsf_jax.retrieval.features", (), marks=pytest.mark.slow),
    ],
)
def test_a_start_is_quick_for_what_it_does_not_import(code, without):
    named = json.dumps([*HEAVY, *without])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(set({named}) & sys.modules.keys())"],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
def test_a_search_is_started_without_what_only_some_searches_need():
    code = "import launch.search, sys; print(sorted(set(sys.argv[1:]) & sys.modules.keys()))"
    some = [name for name in HEAVY if name != "orbax"]  # which reads checkpoints
    done = subprocess.run(
        [sys.executable, "-c", code, *some], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
