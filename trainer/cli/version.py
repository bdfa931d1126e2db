"""The option --version: of the package, and the commit where it is known."""

import argparse
import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

NAME = "hankelboard"


class PrintVersion(argparse.Action):
    """Print the version and end; nothing is computed before it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        super().__init__(option_strings, dest, nargs=0, help="print version and commit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        revision = commit()
        print(f"{NAME} {metadata.version(NAME)}{revision and f' (commit {revision})'}")
        parser.exit()


def commit() -> str:
    """Return the short commit of the checkout, or the one that pip recorded, or ""."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        return _described(root)
    with contextlib.suppress(metadata.PackageNotFoundError):
        origin = json.loads(metadata.distribution(NAME).read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))[:7]
    return ""


def _described(root: Path) -> str:
    """Return the commit, with -dirty where files differ from it; "" without git or commits."""
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    with contextlib.suppress(OSError):
        # Git hands GIT_DIR to its hooks: there it would describe, and obey, another repository.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(ask, capture_output=True, encoding="utf-8", check=False, env=environment)
        return done.stdout.strip()
    return ""
