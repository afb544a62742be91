"""Docstrings of the library, the builders and the scripts: one form, the English of the field."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PREPOSITIONS = {
    "about", "after", "at", "before", "below", "between", "by", "for", "from", "in", "into", "of",
    "on", "over", "per", "since", "to", "until", "under", "with", "within", "without",
}  # fmt: skip
FILES = sorted(
    path
    for top in ("dsf_jax", "data_builders", "launch")
    for path in (ROOT / top).rglob("*.py")
    if path.read_text().strip()
)
ENTRY = re.compile(r"^ {2,4}\*{0,2}(\w+)(?: \([^)]*\))?: +(.+)$")


def docstrings(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", path.stem), text


def entries(text):
    """(name, description) of arguments and attributes."""
    section = ""
    for line in text.splitlines():
        if re.match(r"^[A-Z]\w+:$", line):
            section = line
        elif section in ("Args:", "Attributes:") and (match := ENTRY.match(line)):
            yield match[1], match[2]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_argument_begins_with_a_preposition(path):
    wrong = [
        f"{where}: {name}: {text}"
        for where, doc in docstrings(path)
        for name, text in entries(doc)
        if text.split()[0].lower().strip(",;") in PREPOSITIONS
    ]
    assert not wrong, "name the thing: 'seed: seed of the shuffling order.'"


DISTRIBUTIVE = re.compile(
    r"\b(?:one|two|three|each|\d+|lines?|bytes?|keys?|rows?|files?|examples?|images?|steps?|folders?"
    r"|columns?|numbers?|points?|photos?|sketches|values?|units?|dict) an? (?:class|epoch|step|example"
    r"|image|row|line|layer|file|query|fold|device|process|core|second|side|value|sketch|photo|data"
    r" set|record|split|batch|pixel|stroke|run|domain)\b"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_per_is_written_per(path):
    text = path.read_text()
    wrong = [
        f"{text[: match.start()].count(chr(10)) + 1}: {match[0]}"
        for match in DISTRIBUTIVE.finditer(text)
    ]
    assert not wrong, "'one line per class'"
