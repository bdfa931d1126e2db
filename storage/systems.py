"""Systems (λ, B, C) of all layers at some steps, one immutable file per snapshot; and what was made of them.

Written by the trainer, read by `hankelboard analyse`, whose records anybody may add. Both folders may be
absent, and nothing but analyses depends on them.
"""

import contextlib
from pathlib import Path

from hankelboard.storage import atomic, opening
from hankelboard.storage.decoding import decode_analysis, misfit_of_analysis, sound
from hankelboard.storage.history import History
from hankelboard.storage.layout import ULID_JSON, RunPaths, SystemsName
from hankelboard.storage.records import new_ulid, now, read_record
from hankelboard.storage.schema import Analysis

MAX_SYSTEMS_BYTES = 4 * 1024**3


def publish_systems(paths: RunPaths, name: SystemsName, content: bytes) -> None:
    """Keep a snapshot. Atomicity and durability as atomic.create; what is there already stays."""
    opening.make_folder(paths.systems)
    with contextlib.suppress(FileExistsError):
        atomic.create_bytes(paths.system(name), content)


def systems_on_path(paths: RunPaths, history: History) -> list[SystemsName]:
    """Return the snapshots on the live path, by step; of one step and state dimension the latest."""
    newest: dict[tuple[int, int], SystemsName] = {}
    for name in sorted(_names(paths.systems), key=lambda name: (name.branch, name.attempt)):
        if history.on_path({"branch": name.branch, "step": name.step, "attempt": name.attempt}):
            newest[name.step, name.reductions] = name
    return sorted(newest.values())


def read_systems(paths: RunPaths, name: SystemsName) -> bytes | None:
    """Return the content of a snapshot, or None when it is absent, no plain file or too large."""
    try:
        return opening.read_bytes(paths.system(name), MAX_SYSTEMS_BYTES)
    except OSError:
        return None


def publish_analysis(paths: RunPaths, record: Analysis) -> str:
    """Add an analysis; returns its id. The newest one is shown."""
    opening.make_folder(paths.analyses)
    analysis_id = new_ulid()
    atomic.create(paths.analysis(analysis_id), sound({"t": now(), **record}, misfit_of_analysis), unique=True)
    return analysis_id


def latest_analysis(paths: RunPaths) -> Analysis | None:
    """Return the newest analysis that can be read, or None."""
    files = opening.names_if_any(paths.analyses)
    ids = sorted((match[1] for match in map(ULID_JSON.fullmatch, files) if match), reverse=True)
    records = (decode_analysis(read_record(paths.analysis(analysis_id))) for analysis_id in ids)
    return next((record for record in records if record is not None), None)


def _names(folder: Path) -> list[SystemsName]:
    return [name for name in map(SystemsName.parse, opening.names_if_any(folder)) if name]
