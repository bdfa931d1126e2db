"""Refuse a copy without its symbolic links: it would install nothing, in silence. See pyproject.toml."""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent / "hankelboard"
LINKS = ("access", "app", "comparison", "docs", "settings", "storage", "trainer")
LOST = [name for name in LINKS if not (HERE / name).is_dir()]
if LOST:
    raise SystemExit(
        f"hankelboard/{LOST[0]} is no folder: symbolic links were lost. "
        "Use `git clone`, the .tar.gz or the wheel."
    )
setup()
