"""What MkDocs calls while it builds the site: adds the generated pages, and shows source files."""

import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.site_tools.pages import generated_pages, quoted


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the generated pages in the navigation, where an entry ends with /."""
    config.nav = [_expanded(entry) for entry in config.nav or []]
    return config


def _expanded(entry: Any) -> Any:
    """Replaces FOLDER/ by FOLDER.md, where there is one, and the generated pages of the folder."""
    if isinstance(entry, str) and entry.endswith("/"):
        pages = generated_pages()
        first = [name for name in (f"{entry[:-1]}.md",) if name in pages]
        return [*first, *(name for name in pages if name.startswith(entry))]
    if isinstance(entry, dict):
        return {title: _expanded(inside) for title, inside in entry.items()}
    if isinstance(entry, list):
        flat = []
        for one in map(_expanded, entry):
            flat += one if isinstance(one, list) else [one]
        return flat
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages."""
    for place, text in generated_pages().items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the source that `<!-- source: FILE NAME... -->` names in its place."""
    return re.sub(r"^<!-- source: (.+?) -->$", lambda m: quoted(m[1]), markdown, flags=re.MULTILINE)
