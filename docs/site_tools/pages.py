"""The pages of the site that are generated: from docstrings, from flags, and from files of the repository.

`generated_pages` returns them as Markdown by their place in the site; docs/site_tools/hooks.py gives
them to MkDocs. None is ever a file in docs/.
"""

import ast
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Mapping

import jupytext

from dsf_jax.__main__ import command_summaries

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Files of the repository that are pages too: {file: place in the site}.
COPIED = {
    "README.md": "index.md",
    "BUILD_NOTES.md": "project/decisions.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "data_builders/README.md": "data_sets.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
_FLAG = re.compile(r"^  --(\[no\])?(\w+): (.*?)(?=^  --|\Z)", re.DOTALL | re.MULTILINE)


@functools.cache
def generated_pages() -> dict[str, str]:
    """Returns every generated page: {place in the site: Markdown}."""
    pages = api_pages() | command_pages(helps()) | notebook_pages()
    return pages | {place: rebased(name, place) for name, place in copied_files().items()}


def copied_files() -> dict[str, str]:
    """Returns the files of the repository that are pages: {file: place in the site}."""
    copied = {name: place for name, place in COPIED.items() if (ROOT / name).exists()}
    for readme in sorted(ROOT.glob("data_builders/*/README.md")):
        copied[str(readme.relative_to(ROOT))] = f"data_sets/{readme.parent.name}.md"
    return copied


def rebased(name: str, place: str) -> str:
    """Returns a file of the repository as a page: links lead to pages, and what is none keeps its name
    alone.

    Args:
      name: the file, relative to the repository.
      place: the page in the site.
    """
    places = copied_files()

    def link(match: re.Match[str]) -> str:
        image, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"\w+:", target):
            return match[0]
        file = os.path.normpath(pathlib.Path(name).parent / path)
        inside = places.get(file) or (file.removeprefix("docs/") if file[:5] == "docs/" else None)
        if inside is None:
            return f"`{text.strip('`')}`"
        return (
            f"{image}[{text}]({os.path.relpath(inside, pathlib.Path(place).parent)}{hash_}{anchor})"
        )

    parts = re.split(r"(^```.*?^```|^    .*$)", _text(name), flags=re.DOTALL | re.MULTILINE)
    return "".join(part if i % 2 else _LINK.sub(link, part) for i, part in enumerate(parts))


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def module_list() -> dict[str, dict[str, str]]:
    """Reads the modules of the library from its docstring: {room: {module: what it holds}}."""
    docstring = ast.get_docstring(ast.parse(_text("dsf_jax/__init__.py"))) or ""
    rooms: dict[str, dict[str, str]] = {}
    for module, what in re.findall(r"^([a-z_.0-9]+) {2,}(.+)$", docstring, re.MULTILINE):
        if module != "__main__":
            rooms.setdefault(module.partition(".")[0], {})[module] = what
    return rooms


def api_pages() -> dict[str, str]:
    """Makes a page per room of the library, and one that lists them all."""
    index = ["# API", "", "Every module in reading order: each may import those above it.", ""]
    pages = {}
    for room, modules in module_list().items():
        index += [f"## [{room}](api/{room}.md)", "", "| module | |", "|---|---|"]
        index += [f"| [{m}](api/{room}.md#dsf_jax.{m}) | {what} |" for m, what in modules.items()]
        index.append("")
        body = "\n\n".join(f"::: dsf_jax.{module}" for module in modules)
        pages[f"api/{room}.md"] = f"# dsf_jax.{room}\n\n{body}\n"
    return {"api.md": "\n".join(index)} | pages


def helps() -> dict[str, str]:
    """Asks every launch script, in a process of its own, what --help prints: {command: text}."""
    command = [sys.executable, "-m", "docs.site_tools.helps"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "COLUMNS": "80"}
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def command_pages(texts: Mapping[str, str]) -> dict[str, str]:
    """Makes a page per command, and one that lists them all.

    Args:
      texts: what --help prints, by command; "build_data NAME" of a data set.
    """
    rows = [
        f"| [{name}](commands/{name}.md) | {what} |" for name, what in command_summaries().items()
    ]
    index = [
        "# Commands",
        "",
        "`python -m launch.NAME` in the repository is `dsf NAME` where the package is installed.",
        "",
        *("| command | |", "|---|---|", *rows),
    ]
    pages = {"commands.md": "\n".join(index)}
    for command, text in texts.items():
        name, _, data_set = command.partition(" ")
        purpose = text.partition("\nflags:")[0]
        if data_set:
            common = dict(_flags(texts[name]))
            own = {flag: row for flag, row in _flags(text) if flag not in common}
            if own:
                pages[f"commands/{name}.md"] += f"\n## --dataset={data_set}\n\n{_table(own)}\n"
        else:
            body = f"# {name}\n\n{_purpose(purpose)}\n\n## Flags\n\n{_table(dict(_flags(text)))}\n"
            pages[f"commands/{name}.md"] = body
    return pages


def _purpose(text: str) -> str:
    """Formats what a script says of itself: its commands as code."""
    paragraphs = re.split(r"\n{2,}", text.strip())
    code = "```sh\n{}\n```".format
    return "\n\n".join(code(p) if p.startswith("python -m") else p for p in paragraphs)


def _flags(text: str) -> list[tuple[str, tuple[str, str, str]]]:
    """Reads the flags of a help text: name, what is written, default, what it does."""
    found = []
    for no, name, rest in _FLAG.findall(text.partition("\nflags:")[2].partition("\nTry --help")[0]):
        rest = " ".join(rest.split())
        default = re.search(r"\(default: '?(.*?)'?\)", rest)
        what = re.sub(r" \((default: .*?|an? [a-z ]+)\)|; repeat this option .* values", "", rest)
        written = f"--[no]{name}" if no else f"--{name}"
        found.append((name, (written, default[1] if default else "", what)))
    return found


def _table(flags: Mapping[str, tuple[str, str, str]]) -> str:
    """Formats flags as a table."""
    rows = ["| flag | default | |", "|---|---|---|"]
    for written, default, what in flags.values():
        shown = re.sub(r"[|*_]", r"\\\g<0>", what).replace("<", "&lt;")
        rows.append(f"| `{written}` | {f'`{default}`' if default else ''} | {shown} |")
    return "\n".join(rows)


def notebook_pages() -> dict[str, str]:
    """Makes a page per notebook of docs/notebooks: its text, and its code as code."""
    pages = {}
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.py")):
        notebook = jupytext.read(path)
        notebook.metadata = {"jupytext": {"notebook_metadata_filter": "-all"}}
        text = jupytext.writes(notebook, fmt="md")
        where = f"This page is `docs/notebooks/{path.name}`: run it with Python, or open it in Jupyter (jupytext)."
        title, _, rest = text.strip().partition("\n")
        pages[f"notebooks/{path.stem}.md"] = f"{title}\n\n{where}\n{rest}\n"
    return pages


def quoted(directive: str) -> str:
    """Returns the source that a page shows: `FILE NAME...`, whole definitions of a file.

    Args:
      directive: a file of the repository, and names that it defines at its top; none shows the whole file.

    Raises:
      ValueError: the file defines no such name.
    """
    name, *wanted = directive.split()
    source = _text(name)
    nodes = (
        {found: node for node in ast.parse(source).body for found in _defined(node)}
        if wanted
        else {}
    )
    if missing := [one for one in wanted if one not in nodes]:
        raise ValueError(f"{name} defines no {', '.join(missing)}; name what it defines at its top")
    lines = source.splitlines()
    parts = []
    for one in wanted:
        node = nodes[one]
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        parts.append("\n".join(lines[first - 1 : node.end_lineno]))
    kind = pathlib.Path(name).suffix[1:]
    body = "\n\n\n".join(parts) if wanted else source.rstrip()
    return f'```{kind} title="{name}"\n{body}\n```'


def _defined(node: ast.stmt) -> list[str]:
    """Returns the names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
