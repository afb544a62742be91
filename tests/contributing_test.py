"""What a contributor reads: files and names that exist, hooks that do as CI does, a changelog in its form."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PLACEHOLDER = re.compile(r"\bNAME|\bOWNER")


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page):
    named = re.findall(r"`((?:dsf_jax|data_builders|launch|tests|docs)/[\w/.]*)`", text_of(page))
    assert len(named) >= 1
    assert not [
        name for name in named if not PLACEHOLDER.search(name) and not (ROOT / name).exists()
    ]


def test_tables_that_are_named_exist():
    """Each `TABLE` in the row of a part stands in a file of that row."""
    rows = [line for line in text_of("CONTRIBUTING.md").splitlines() if line.startswith("| ")]
    found = 0
    for row in rows:
        files = [text_of(name) for name in re.findall(r"`([\w/]+\.py)`", row) if "NAME" not in name]
        for table in re.findall(r"`(_?[A-Z][A-Z_]+)`", row):
            found += 1
            assert any(re.search(rf"^{table}\b.*=", text, flags=re.M) for text in files), table
    assert found >= 6


def test_hooks_are_the_checks_of_ci():
    hooks = re.findall(r"entry: \.venv/bin/(.+)", text_of(".pre-commit-config.yaml"))
    lint = re.search(r"^lint:.*\n((?:\t.+\n)+)", text_of("Makefile"), flags=re.M)[1]
    checks = re.findall(r"\$\(BIN\)/(.+)", lint)
    bare = re.compile(r" (--[\w-]+|\.)(?= |$)")
    assert [bare.sub("", hook) for hook in hooks] == [bare.sub("", check) for check in checks]


def test_the_changelog_has_the_version_of_setup():
    versions = re.findall(r"^## \[([^]]+)\](?: - (\S+))?$", text_of("CHANGELOG.md"), flags=re.M)
    (version,) = re.findall(r'version="([^"]+)"', text_of("setup.py"))
    assert versions[0] == ("Unreleased", "") and version in dict(versions)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for _, date in versions[1:])
    kinds = set(re.findall(r"^### (\w+)$", text_of("CHANGELOG.md"), flags=re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
