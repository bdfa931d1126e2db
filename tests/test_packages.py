"""What the product needs of other packages: the user's choice is used, the lists agree."""

import ast
import functools
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CARD = ("torch", "streamlit", "pandas", "altair", "scipy", "tensorboard", "watchdog")
"""Packages that the user asked for, besides pytest, which runs this."""
TRAINER = {"torch", "numpy", "scipy", "safetensors", "threadpoolctl"}


@functools.cache
def imported_by_the_product():
    """Names of packages that product code imports; torch.utils.tensorboard is the one of tensorboard."""
    found = set()
    for folder in ("access", "app", "comparison", "settings", "storage", "trainer"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                found |= {
                    "tensorboard" if name == "torch.utils.tensorboard" else name.partition(".")[0]
                    for name in names
                }
    return found


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_-]+", requirement)[0]


@pytest.mark.parametrize("package", CARD)
def test_each_package_of_the_card_is_imported_by_the_product(package):
    assert package in imported_by_the_product()


@pytest.mark.parametrize("package", [*CARD, "altair", "honcho"])
def test_a_plain_installation_brings_the_card_and_what_the_procfile_needs(package):
    assert package in map(name_of, PROJECT["dependencies"])


def test_a_training_environment_asks_for_the_same_versions():
    lines = (ROOT / "requirements-trainer.txt").read_text().splitlines()
    asked = {line for line in lines if not line.startswith("#")}
    assert {name_of(line) for line in asked} == TRAINER
    assert asked <= set(PROJECT["dependencies"])


def test_the_oldest_versions_are_those_that_the_project_allows():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["report"]]
    assert set(pinned) == set(map(name_of, wanted))
    for requirement in wanted:
        oldest = re.search(r">=([0-9.]+)", requirement)[1]
        assert (pinned[name_of(requirement)] + ".0").startswith(oldest + "."), requirement
