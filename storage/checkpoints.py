"""Checkpoints: folders that are published whole, manifest last, and verified by their hashes.

What the files inside hold is the trainer's business; here they are names, sizes and SHA-256 sums.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from hankelboard.storage import atomic, opening
from hankelboard.storage.decoding import decode_manifest, misfit_of_manifest
from hankelboard.storage.errors import CheckpointError, Superseded
from hankelboard.storage.layout import FORMAT_VERSION, STRAY_PREFIX, CheckpointName, RunPaths, manifest_in
from hankelboard.storage.records import now, read_record
from hankelboard.storage.schema import FileFacts, Manifest
from hankelboard.storage.vocabulary import Cause


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint as its manifest describes it."""

    name: CheckpointName
    t: str
    cause: str
    pinned: bool
    state_dims: list[int]
    bytes: int
    metrics: dict[str, Any]
    reductions: list[int]
    """Numbers of the proposals whose reductions are in these weights."""
    files: dict[str, FileFacts]


def publish(
    paths: RunPaths,
    name: CheckpointName,
    write: Callable[[Path], None],
    *,
    cause: Cause,
    pinned: bool,
    state_dims: list[int],
    metrics: dict[str, Any],
    reductions: list[int],
    guard: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """Build a checkpoint beside, hash it, write its manifest last, and rename it into place.

    Atomicity: the checkpoint exists whole or not at all. Durability: on disk when this returns.
    Concurrency: one writer, the holder of run.lock.

    Parameters
    ----------
    write : callable that writes the payload files into the folder it is given
    guard : called right before it is published; raises where that may not be
    """
    building = paths.building(name)
    opening.make_folder(paths.checkpoints)
    opening.make_folder(building, new=True)
    try:
        write(building)
        files: dict[str, FileFacts] = {}
        for file in sorted(opening.names_in(building)):
            files[file] = _facts(building / file)
            atomic.sync_file(building / file)
        manifest: Manifest = {
            "format_version": FORMAT_VERSION, "t": now(), "branch": name.branch, "step": name.step,
            "attempt": name.attempt, "sequence": name.sequence, "cause": cause, "pinned": pinned,
            "state_dims": state_dims, "metrics": metrics, "reductions": reductions, "files": files,
        }  # fmt: skip
        atomic.create(manifest_in(building), manifest)
        guard()
        opening.rename(building, paths.checkpoint(name))
    except (OSError, Superseded):
        opening.remove(building)
        raise
    atomic.sync_folder(paths.checkpoints)
    return read_checkpoint(paths, name)


def read_checkpoint(paths: RunPaths, name: CheckpointName) -> Checkpoint:
    """Return what the manifest says. Raises CheckpointError when there is none or it cannot be read."""
    record = read_record(paths.manifest(name))
    manifest = decode_manifest(record)
    if manifest is None:
        problem = "missing or damaged" if record is None else f"damaged: {misfit_of_manifest(record)}"
        raise CheckpointError(f"checkpoint {name}: manifest.json is {problem}")
    if not all(Path(file).name == file for file in manifest["files"]):
        raise CheckpointError(f"checkpoint {name}: manifest.json names files outside the checkpoint")
    return Checkpoint(
        name=name,
        t=manifest.get("t", ""),
        cause=manifest.get("cause", ""),
        pinned=manifest.get("pinned", False),
        state_dims=manifest.get("state_dims", []),
        bytes=sum(facts["bytes"] for facts in manifest["files"].values()),
        metrics=manifest.get("metrics", {}),
        reductions=manifest.get("reductions", []),
        files=manifest["files"],
    )


def list_checkpoints(paths: RunPaths) -> tuple[list[Checkpoint], list[str]]:
    """Return published checkpoints by sequence, and a message for each folder whose manifest is damaged."""
    good, damaged = [], []
    for name in checkpoint_names(paths):
        try:
            good.append(read_checkpoint(paths, name))
        except CheckpointError as error:
            damaged.append(str(error))
    return good, damaged


def checkpoint_names(paths: RunPaths) -> list[CheckpointName]:
    """Return the names of all checkpoint folders, by sequence."""
    folders = opening.names_if_any(paths.checkpoints)
    return sorted(name for name in map(CheckpointName.parse, folders) if name is not None)


def problems(paths: RunPaths, name: CheckpointName) -> Iterator[str]:
    """Yield what is wrong with a checkpoint; nothing when every file has its size and hash."""
    try:
        checkpoint = read_checkpoint(paths, name)
    except CheckpointError as error:
        yield str(error)
        return
    for file, recorded in checkpoint.files.items():
        problem = _problem(paths.checkpoint(name) / file, recorded)
        if problem:
            yield f"checkpoint {name}: {file} {problem}"


def _problem(path: Path, recorded: FileFacts) -> str:
    """Return what is wrong with a file of a checkpoint; its size is looked at first, a hash takes time."""
    try:
        with os.fdopen(opening.open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != recorded.get("bytes"):
                return f"has {size} bytes instead of {recorded.get('bytes')}"
            if _sha256(file) != recorded.get("sha256"):
                return "does not have the recorded SHA-256"
    except (OSError, ValueError):  # ValueError: a name that cannot be one
        return "is missing"
    return ""


def remove(paths: RunPaths, name: CheckpointName) -> int:
    """Remove a checkpoint and return the bytes that this frees.

    Atomicity: it is renamed to a stray first, so a checkpoint never stands there half removed.
    Concurrency: the holder of run.lock only.
    """
    stray = paths.building(name)
    opening.rename(paths.checkpoint(name), stray)
    freed = sum(opening.size_of(stray / file) for file in opening.names_in(stray))
    opening.remove(stray)
    return freed


def remove_strays(paths: RunPaths, attempt: int | None = None) -> None:
    """Remove what a dead writer was still building. Only the holder of run.lock may call this.

    What an attempt later than `attempt` builds stays: the caller may have been asleep.
    """
    for folder in (paths.root, paths.checkpoints, paths.proposals):  # those that only the trainer writes
        for stray in opening.names_if_any(folder):
            if stray.startswith(STRAY_PREFIX) and not _is_later(stray.removeprefix(STRAY_PREFIX), attempt):
                opening.remove(folder / stray)
    for name in checkpoint_names(paths):
        if not opening.is_there(paths.manifest(name)):
            opening.remove(paths.checkpoint(name))
    for proposal in opening.names_if_any(paths.proposals):
        if proposal.endswith(".json") and atomic.is_unfinished(paths.proposals / proposal):
            opening.remove(paths.proposals / proposal)


def _is_later(name: str, attempt: int | None) -> bool:
    parsed = CheckpointName.parse(name)
    return parsed is not None and attempt is not None and parsed.attempt > attempt


def _facts(path: Path) -> FileFacts:
    with os.fdopen(opening.open_regular(path), "rb") as file:
        return {"sha256": _sha256(file), "bytes": os.fstat(file.fileno()).st_size}


def _sha256(file: BinaryIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # says less than it takes
