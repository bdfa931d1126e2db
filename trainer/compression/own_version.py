"""Which Hankelboard this is: its version, and the commit where it is known. Imports no torch."""

import contextlib
import functools
import json
import os
import subprocess
from importlib import metadata
from pathlib import Path

NAME = "hankelboard"
PATIENCE_S = 5.0
"""How long git may take; on a slow file system it is not worth more."""


def version() -> str:
    """Return the version as installed, or "unknown" where it is run without an installation."""
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """Return the short commit of the checkout, or the one that pip recorded, or ""."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        return described(root)
    with contextlib.suppress(metadata.PackageNotFoundError):
        origin = json.loads(metadata.distribution(NAME).read_text("direct_url.json") or "{}")
        return str(origin.get("vcs_info", {}).get("commit_id", ""))[:7]
    return ""


@functools.cache
def version_and_commit() -> str:
    """Return both as a version with a local part, such as 0.1.0+c7daa6e; what it was when first asked."""
    revision = commit()
    return f"{version()}{revision and f'+{revision}'}"


def described(root: Path) -> str:
    """Return the commit, with -dirty where files differ from it; "" without git or commits."""
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        # Git hands GIT_DIR to its hooks: there it would describe, and obey, another repository.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(
            ask, capture_output=True, encoding="utf-8", check=False, env=environment, timeout=PATIENCE_S
        )
        return done.stdout.strip()
    return ""
