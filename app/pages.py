"""All pages, one row each: the router, links between pages of a run, tests, screenshots, benchmarks read it.

What a page is made of: docs/PAGES.md.
"""

from dataclasses import dataclass
from pathlib import PurePath


@dataclass(frozen=True)
class Page:
    """A page as the side bar and links show it."""

    path: str
    """Its file, from the folder of main.py."""
    title: str
    icon: str
    """Of Material Symbols."""
    help: str
    """What it is for, where a pointer rests on its link."""
    of_one_run: bool = False
    """Whether it shows the run of ?run= in its address, and the other pages of a run link to it."""
    default: bool = False
    """Whether it is the page of the bare address."""

    url_path: str = ""
    """Its address, where that is not the name of its file."""

    @property
    def name(self) -> str:
        """Its address below that of the dashboard, unless it is the default."""
        return self.url_path or PurePath(self.path).stem


PAGES = (
    Page("views/runs.py", "Runs", ":material/list:",
         "All runs; what waits for a decision stands first.", default=True),
    Page("views/compare.py", "Compare", ":material/compare_arrows:",
         "Runs side by side against a baseline."),
    Page("views/new_run.py", "New run", ":material/add:",
         "Queue a run from a preset."),
    Page("views/glossary.py", "Glossary", ":material/menu_book:",
         "What the words and figures mean, and what they do not promise."),
    Page("views/installation.py", "System", ":material/dns:",
         "Workers, disk, damage, versions.", url_path="system"),
    Page("views/run.py", "Run", ":material/monitoring:",
         "State, charts, events and log of one run, live.", of_one_run=True),
    Page("views/spectra.py", "Spectra", ":material/gradient:",
         "Spectra over training, and the ranks that tolerances would leave.", of_one_run=True),
    Page("views/truncation.py", "Truncation", ":material/content_cut:",
         "What a cut would do, and the decision on it.", of_one_run=True),
    Page("views/checkpoints.py", "Checkpoints", ":material/account_tree:",
         "Branches and checkpoints; roll back.", of_one_run=True),
)  # fmt: skip


def of_one_run() -> tuple[Page, ...]:
    """Return the pages that show one run."""
    return tuple(page for page in PAGES if page.of_one_run)


def named(name: str) -> Page:
    """Return the page of this name."""
    return next(page for page in PAGES if page.name == name)
