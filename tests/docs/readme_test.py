"""README and the pages by hand: short, their links and commands exist, their examples run."""

import dataclasses
import doctest
import pathlib
import re
import runpy

import pytest

from dsf_jax.training.config import TrainConfig
from tests.docs import quickstart_stand_in

ROOT = pathlib.Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.py"))
# The first may come after a parser.
DEFINED = re.compile(r'DEFINE\w*\((?:\s*\w+\(\),)?\s*"(\w+)"|shared_flags\.define_(\w+)\(')
ABSL = {"help", "helpfull", "verbosity"}


def name_of(path):
    return str(path.relative_to(ROOT))


def source(path):
    return (ROOT / path).read_text(encoding="utf-8")


def flags_of(module):
    """The flags that a script defines, read from its source."""
    text = source(f"{module.replace('.', '/')}.py")
    flags = {a or b for a, b in DEFINED.findall(text)} | ABSL
    if "define_flags(TrainConfig)" in text:
        flags |= {field.name for field in dataclasses.fields(TrainConfig)}
    if "adopt_module_key_flags(distributed)" in text:
        flags |= {a for a, _ in DEFINED.findall(source("launch/distributed.py"))}
    if module == "launch.build_data":  # and the options of each data set
        for path in ROOT.glob("data_builders/*/*_dataset_builder.py"):
            flags |= set(re.findall(r"^    (\w+): [^=\n]+ = ", path.read_text(), re.MULTILINE))
    return flags


def commands(text):
    """(module, rest of the line) of every command that a page gives."""
    joined = re.sub(r"\\\n\s*", "", text)
    code = re.findall(r"```sh\n(.*?)```", joined, re.DOTALL) + [
        " ".join(inline.split()) for inline in re.findall(r"(?<!`)`([^`]+)`(?!`)", joined)
    ]
    for line in "\n".join(code).splitlines():
        for module, rest in re.findall(r"python -m (launch(?:\.\w+)+)([^#]*)", line):
            yield module, rest
        for command, rest in re.findall(r"(?:^|; |`)dsf (\w+)([^#]*)", line):
            yield f"launch.{command}", rest


def test_readme_is_short():
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 130
    assert [(i, len(line)) for i, line in enumerate(lines, 1) if len(line) > 120] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^()\s]+)\)", text)
    generated = re.compile(r"(\.\./)?(api|commands|data_sets|notebooks|project)[/.]")
    missing = [
        target
        for target in targets
        if not re.match(r"\w+:|#", target)
        # The site's own pages, which its build checks.
        and not (page != README and generated.match(target))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_and_their_flags_exist(page):
    wrong = []
    for module, rest in commands(page.read_text(encoding="utf-8")):
        if not (ROOT / f"{module.replace('.', '/')}.py").is_file():
            wrong.append(module)
            continue
        known = flags_of(module)
        given = re.findall(r"(?<!\S)--(\w+)", rest)
        wrong += [f"{module} --{x}" for x in given if not {x, x.removeprefix("no")} & known]
    assert wrong == []


def test_the_search_for_commands_finds_wrong_ones():
    text = "```sh\npython -m launch.train --datasets=a \\\n    --nonsense=1  # --no\ndsf nothing\n```\n`python -m\nlaunch.x`"
    assert list(commands(text)) == [
        ("launch.train", " --datasets=a --nonsense=1  "), ("launch.nothing", ""), ("launch.x", ""),
    ]  # fmt: skip
    assert {"datasets", "pen", "coordinator"} <= flags_of("launch.train")
    assert "nonsense" not in flags_of("launch.train")
    assert "keep_invalid" in flags_of("launch.build_data")


def test_readme_names_every_command():
    scripts = {
        path.stem
        for path in (ROOT / "launch").glob("*.py")
        if "common.run(main" in path.read_text(encoding="utf-8")
    }
    table = README.read_text(encoding="utf-8").partition("## Commands")[2].partition("\n## ")[0]
    assert scripts <= set(re.findall(r"`(\w+)`", table))


def test_every_extra_is_in_readmes_table():
    extras = set(re.findall(r'^    "(\w+)": ', source("setup.py"), re.MULTILINE))
    table = README.read_text(encoding="utf-8").partition("## Install")[2].partition("\n## ")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
             for name in re.findall(r"`(\w+)`", row)}  # fmt: skip
    assert named == extras


def test_every_picture_is_shown_and_has_its_command():
    there = {path.name for path in (ROOT / "docs").rglob("*.png")}
    everything = "\n".join(
        path.read_text(encoding="utf-8") for path in [*PAGES, *ROOT.glob("*.md")]
    )
    shown = {
        pathlib.PurePath(x).name for x in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", everything)
    }
    assert there <= shown
    rows = re.findall(r"^\| (`.*?) \| .*`.+`.*\|$", source("docs/pictures.md"), re.MULTILINE)
    assert there == {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """A folder in which the examples find what they name; they are run in it."""
    quickstart_stand_in.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_examples_of_readme_run(stand_in):
    (code,) = re.findall(r"```python\n(.*?)```", source("README.md"), re.DOTALL)
    examples = doctest.DocTestParser().get_doctest(code, {}, "README.md", "README.md", 0)
    assert len(examples.examples) >= 10
    assert doctest.DocTestRunner().run(examples).failed == 0


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebooks_run(notebook, stand_in, capsys):
    runpy.run_path(str(notebook))
    said = capsys.readouterr().out
    expected = {
        "draw_and_search": "my_photos/cat.png",
        "score_vectors": "mAP@all, non-interpolated",
    }
    assert expected[notebook.stem] in said


@pytest.mark.slow
def test_the_example_of_the_features_page_runs(stand_in, capsys):
    """Its drawing is its own."""
    (code,) = re.findall(r"```python\n(.*?)```", source("docs/concepts/features.md"), re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.strip() in ("ant", "bee", "cat", "dog", "elk")
