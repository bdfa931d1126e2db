"""Links, headings and paths that the documents name exist; the map of the house names each module."""

import posixpath
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("access", "app", "comparison", "settings", "storage", "trainer")
FOLDERS = (*PACKAGES, "benchmarks", "docs", "hankelboard", "tests")
FILES = {
    path.relative_to(ROOT).as_posix()
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if "__pycache__" not in path.parts
}
NAMES = {posixpath.basename(path) for path in FILES}

FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w*./-]*")
FILE = re.compile(r"`([\w-]+\.py)`")
DOTTED = re.compile(r"\bhankelboard((?:\.[A-Za-z_]\w*)+)")
SHORT = re.compile(rf"`(?:{'|'.join(PACKAGES)})\.\w[\w.]*`")
IMAGINARY = {
    "mixer.py",  # of an export
    "event_counts.py", "event_kinds.py", "kinds.py",  # the example of docs/PAGES.md
    "utils.py", "common.py", "helpers.py", "base.py",  # forbidden
}  # fmt: skip
HISTORY = ("docs/log/", "docs/LOG.md")  # paths in the log are those of their day


def name(path):
    return path.relative_to(ROOT).as_posix()


def prose(path):
    return FENCE.sub("", path.read_text(encoding="utf-8"))


def anchors(path):
    """Return the anchors of a document's headings, as GitHub and the site form them."""
    headings = re.findall(r"^#+ +(.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def leads_nowhere(document, link):
    target, _, anchor = link.partition("#")
    path = (document.parent / target).resolve() if target else document
    return not path.exists() or (bool(anchor) and anchor not in anchors(path))


def is_missing(path):
    """Say whether no file or folder has this path; `*` and an ending dot or slash are allowed for."""
    path = path.rstrip("./")
    if "*" in path:
        return not list(ROOT.glob(path))
    return path not in FILES and path not in FOLDERS and f"{path}.py" not in FILES


def is_no_name_of_ours(dotted):
    """Say whether a dotted name leads to no module, or to a name that its module does not contain."""
    folder, names = ROOT, dotted.strip(".").split(".")
    while names and (folder / names[0]).is_dir():
        folder = folder / names.pop(0)
    module = folder / f"{names.pop(0)}.py" if names and (folder / f"{names[0]}.py").is_file() else None
    module = module or (folder if folder != ROOT else ROOT / "hankelboard") / "__init__.py"
    return bool(names) and not re.search(rf"\b{names[0]}\b", module.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_link_leads_to_a_file_and_a_heading(document):
    links = [link for link in LINK.findall(prose(document)) if ":" not in link]
    assert [link for link in links if leads_nowhere(document, link)] == []


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if not name(d).startswith(HISTORY)], ids=name)
def test_each_path_that_is_named_exists(document):
    text = document.read_text(encoding="utf-8")
    assert [path for path in PATH.findall(text) if is_missing(path)] == []
    assert set(FILE.findall(text)) - NAMES - IMAGINARY == set()
    assert SHORT.findall(text) == [], "say hankelboard. before it"
    assert [dotted for dotted in DOTTED.findall(text) if is_no_name_of_ours(dotted)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_list_begins_after_an_empty_line(document):
    """Else the site shows it as one paragraph."""
    glued = re.findall(r"^(?![-*|#>]|\d+\.|\s)\S.*\n(?:[*-]|1\.) .*", prose(document), re.MULTILINE)
    assert glued == []


def test_each_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {name(document).removeprefix("docs/") for document in DOCUMENTS if document.parent != ROOT}
    assert pages - set(re.findall(r"[\w/-]+\.md", navigation)) == set()


def rows_of_the_map():
    """Return (folder, modules) for each row of ARCHITECTURE's "Where things are" that names modules."""
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    section = text.partition("\n## Where things are")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w/]+)/` \|(.*)\|$", section, re.MULTILINE)
    named = [(folder, set(re.findall(r"`(\w+)`", cell))) for folder, cell in rows]
    return [(folder, modules) for folder, modules in named if modules]


def test_the_map_of_the_house_names_each_module():
    rows = rows_of_the_map()
    assert len(rows) > 10
    for folder, named in rows:
        modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert named == modules, folder
