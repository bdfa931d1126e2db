"""Hook of mkdocs.yml: show documents of the root as pages of the site, and source files as their path.

Links are written for a plain checkout (docs/X.md names ../trainer/y.py); the site holds docs/ only.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}
STATIC = ("mark.svg", "inter-latin-wght-normal.woff2", "inter-greek-wght-normal.woff2")  # of the dashboard
SOURCES = {page: path for path, page in PAGES.items()}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^][]*)\]\((?P<target>[^)\s]+)\)")
LABELLED = re.compile(r"^```json (\w+)$", re.MULTILINE)  # examples in FORMAT.md, with the kind of record


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents of the root, and mark and fonts of the dashboard."""
    for name in STATIC:
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(ROOT / "app/static" / name)))
    for path, page in PAGES.items():
        if (ROOT / path).is_file():
            files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text with each link that leaves docs/ rewritten."""
    here = page.file.src_uri
    path = SOURCES.get(here, f"docs/{here}")
    markdown = LABELLED.sub(r'```json title="\1"', markdown)
    return LINK.sub(lambda link: rewritten(link, path, here), markdown)


def rewritten(link: re.Match[str], path: str, here: str) -> str:
    """Return one link of the document `path` as the page `here` can follow it."""
    target, hash_, anchor = link["target"].partition("#")
    if not target or ":" in target:
        return link[0]
    whole = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    inside = PAGES.get(whole) or (whole.removeprefix("docs/") if whole.startswith("docs/") else None)
    if inside is None or (ROOT / whole).is_dir():
        return as_code(link["text"], whole)
    address = posixpath.relpath(inside, posixpath.dirname(here) or ".") + hash_ + anchor
    return f"{link['image']}[{link['text']}]({address})"


def as_code(text: str, whole: str) -> str:
    """Return a path in code type, with the words of its link before it unless they say the same."""
    same = whole.endswith(text.strip("`"))
    return f"`{whole}`" if same else f"{text} (`{whole}`)"
