"""The site: it builds without a warning, and every public function of the library is in it."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("jupytext", reason="the extra `docs` is not installed")

from docs.site_tools import pages

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, text=True, capture_output=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder


def public_names(module):
    """Names that a module defines for others: with a docstring, as the library's all are."""
    path = ROOT / "dsf_jax" / f"{module.replace('.', '/')}.py"
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"dsf_jax.{module}.{node.name}"


@pytest.mark.slow
def test_it_builds_and_holds_every_public_function_and_every_flag(site):
    for room, modules in pages.module_list().items():
        ids = set(re.findall(r'id="([\w.]+)"', (site / "api" / f"{room}.html").read_text()))
        assert {name for module in modules for name in public_names(module)} <= ids
    page = (site / "commands" / "train.html").read_text()
    assert all(f"<code>--{flag}</code>" in page for flag in ("datasets", "mixture", "pen", "fold"))
    assert (site / "search" / "search_index.json").is_file()
    # Nothing is fetched from elsewhere when a page is opened.
    fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page)
    assert not fetched


def test_every_module_is_in_the_reference():
    listed = {name for modules in pages.module_list().values() for name in modules}
    there = {
        ".".join(path.relative_to(ROOT / "dsf_jax").with_suffix("").parts)
        for path in (ROOT / "dsf_jax").rglob("*.py")
        if not path.stem.startswith("__")
    }
    assert listed == there
    assert all(f"::: dsf_jax.{name}" in "\n".join(pages.api_pages().values()) for name in listed)


HELP = """Does it.

python -m launch.do --out=x

Then ends.

flags:

/a/do.py:
  --[no]fast: Whether it
    hurries.
    (default: 'false')
  --kind: <a | b>: Which one.
    (default: 'a')
  --not: Names as '*_x.*'.;
    repeat this option to specify a list of values
    (default: '[]')
  --top: Number of them, (more or less) as said.
    (a positive integer)

Try --helpfull to get a list of all flags.
"""


def test_help_becomes_a_page(monkeypatch):
    monkeypatch.setattr(pages, "command_summaries", lambda: {"do": "Does it."})
    made = pages.command_pages({"do": HELP, "do set": HELP.replace("--top", "--own: Its\n  --top")})
    assert made["commands.md"].endswith("| [do](commands/do.md) | Does it. |")
    assert made["commands/do.md"].splitlines() == [
        "# do", "", "Does it.", "", "```sh", "python -m launch.do --out=x", "```", "", "Then ends.", "",
        "## Flags", "", "| flag | default | |", "|---|---|---|",
        "| `--[no]fast` | `false` | Whether it hurries. |",
        r"| `--kind` | `a` | &lt;a \| b>: Which one. |",
        r"| `--not` | `[]` | Names as '\*\_x.\*'. |",
        "| `--top` |  | Number of them, (more or less) as said. |", "",
        "## --dataset=set", "", "| flag | default | |", "|---|---|---|", "| `--own` |  | Its |",
    ]  # fmt: skip


def test_links_of_copied_files_lead_to_pages(monkeypatch):
    texts = {
        "README.md": "[a](docs/x.md#y) ![b](docs/z.png) [c](BUILD_NOTES.md#d) [`e`](setup.py) [f](https://g)\n"
        "```\n[a](docs/x.md)\n```\n"
    }
    monkeypatch.setattr(pages, "_text", texts.__getitem__)
    assert pages.rebased("README.md", "index.md") == (
        "[a](x.md#y) ![b](z.png) [c](project/decisions.md#d) `e` [f](https://g)\n```\n[a](docs/x.md)\n```\n"
    )
    assert "[a](../x.md#y)" in pages.rebased("README.md", "somewhere/index.md")


def test_source_is_shown_by_name():
    shown = pages.quoted("tests/backbones.py TwoLayers TWO_LAYERS")
    assert shown.startswith('```py title="tests/backbones.py"\nclass TwoLayers(nn.Module):')
    assert "\n)\n```" in shown and "class TinyNet" not in shown
    with pytest.raises(ValueError, match=r"tests/backbones.py defines no Nobody; name"):
        pages.quoted("tests/backbones.py Nobody")
