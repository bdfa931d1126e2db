"""Digests of short runs: what every preset computes, to the bit, to be compared across a change of the code.

    python -m benchmarks.digests                      # trains all presets and writes digests.csv
    python -m benchmarks.digests --check              # compares with digests.csv; exit code 1 at a difference
    python -m benchmarks.digests --check digits-lru   # that preset only

Each preset trains for 50 steps (two wide ones for 10) at seed 0 and one thread on the CPU, by the command
line, and is cut half-way by the rule; a baseline, which is never cut, shows the loop without a cut. One
digest is of every training loss in the journal, one of the final parameters and state dimensions. MNIST and
CIFAR-10 are files of random pixels, so no data are needed.

Digests differ between processors and builds of torch: a row names both, and means nothing elsewhere.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from hankelboard.settings.preset import Preset, presets
from hankelboard.settings.tasks import TASKS
from hankelboard.storage.checkpoints import list_checkpoints
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import read_journal
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.trainer.cli import main as hankelboard

RECORDED = Path(__file__).with_suffix(".csv")
STEPS = 50
SETTINGS: dict[str, Any] = {
    "training.seed": 0, "training.threads": 1, "training.device": "cpu", "training.log_every": 1,
    "training.checkpoint_every": 0, "reduction.policy": "auto", "reduction.grid": [1.0],
    "reduction.evidence_samples": 32, "output.tensorboard": False, "training.kernels": "own",
}  # fmt: skip
WIDE = {"training.steps": 10, "training.batch": 4, "model.width": 32}
OF_TASK: dict[str, dict[str, Any]] = {
    "text": {"training.batch": 8},
    "smnist": {"training.batch": 8},
    "cifar": WIDE,
    "listops": WIDE,
}
"""Besides the options that the row of a task calls small, where a step would still take long."""
TOLERANCE = {
    "copying-mamba": 1e-3, "digits-attention": 1e-5, "digits-deltanet": 1e-5, "digits-gla": 1e-5,
    "digits-mamba": 1e-4, "digits-mamba2": 1e-6, "smnist-mamba": 1e-3, "text-mamba": 1e-3,
}  # fmt: skip
"""Instead of the preset's own, by which a barely trained network would be cut to a state or two."""
TRAINED = "digits-baseline"
"""What presets that need another run are given."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digests")
    parser.add_argument("presets", nargs="*", default=list(presets()))
    parser.add_argument("--check", action="store_true", help="compare with digests.csv instead of writing it")
    options = parser.parse_args()
    recorded = read_rows()
    with tempfile.TemporaryDirectory() as folder:
        found = {row["preset"]: row for row in digests(Path(folder), options.presets)}
    if options.check:
        return check(found, recorded)
    write_rows({**recorded, **found})
    return 0


def digests(folder: Path, names: list[str]) -> Iterator[dict[str, str]]:
    """Train each preset and yield its row, printed as soon as it is there."""
    write_noise(folder)
    known = presets()
    runs: dict[str, RunPaths] = {}
    for name in names:
        for needed in [TRAINED, name] if known[name].requires else [name]:
            if needed not in runs:
                runs[needed] = train(folder, known[needed], runs)
        yield printed(row_of(name, runs[name]))


def train(folder: Path, preset: Preset, runs: Mapping[str, RunPaths]) -> RunPaths:
    """Create the run and train it to its end, as a person would."""
    wanted = settings(preset, folder)
    if preset.requires:
        wanted |= dict.fromkeys(preset.requires, runs[TRAINED].run_id)
    assignments = [part for key, value in wanted.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    where = ["--runs-dir", str(folder / "runs")]
    created = json.loads(said("new", "--preset", preset.name, "--no-queue", "--json", *assignments, *where))
    said("run", created["run"], *where)
    return run_paths(folder / "runs", created["run"])


def settings(preset: Preset, folder: Path) -> dict[str, Any]:
    """What a short run has instead of the preset's own, by key."""
    small = {f"data.options.{name}": value for name, value in TASKS[preset.task].small.items()}
    shorter = {**small, **OF_TASK.get(preset.task, {})}
    changed = {"training.steps": STEPS, **SETTINGS, **shorter, "data.folder": str(folder)}
    half = changed["training.steps"] // 2
    at_once = preset.config.reduction.steps == [0]
    uncut = preset.role == "baseline"
    if not uncut:
        changed["reduction.steps"] = [0, half] if at_once else [half]
        changed["reduction.tolerance"] = TOLERANCE.get(preset.name, preset.config.reduction.tolerance)
    return {**changed, "training.evaluate_every": half, "training.spectra_every": half}


def said(*command: str) -> str:
    """What a command of hankelboard prints; SystemExit when it fails."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = hankelboard(command)
    if code:
        sys.exit(f"{output.getvalue()}\nhankelboard {' '.join(command)}: exit code {code}")
    return output.getvalue()


def row_of(name: str, paths: RunPaths) -> dict[str, str]:
    history = read_history(paths)
    started = next(e for e in read_journal(paths.events)[0] if e["kind"] == "attempt_started")
    last = list_checkpoints(paths)[0][-1]
    losses = [r["train/loss"] for r in read_journal(paths.metrics)[0] if "train/loss" in r]
    ranks = " ".join(map(str, last.state_dims))
    cut = last.state_dims != history.initial_state_dims
    return {
        "preset": name,
        "steps": str(last.name.step),
        "ranks": ranks if cut else f"{ranks} uncut",
        "last_loss": repr(losses[-1]),
        "loss_digest": hashlib.sha256(struct.pack(f"<{len(losses)}d", *losses)).hexdigest(),
        "model_digest": model_digest(paths.checkpoint(last.name) / "model.safetensors", last.state_dims),
        "torch": torch.__version__,
        "machine": f"{started['machine']['processor']} {torch.backends.cpu.get_cpu_capability()}",
    }


def model_digest(file: Path, state_dims: list[int]) -> str:
    """SHA-256 of the state dimensions and of each tensor: name, type, shape, bytes; by name."""
    digest = hashlib.sha256(str(state_dims).encode())
    for name, tensor in sorted(load_file(file).items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def write_noise(folder: Path) -> None:
    """Files of MNIST and CIFAR-10 in their formats, with random pixels and labels."""
    draw = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 20)):
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        pixels = draw.integers(0, 256, (count, 784), np.uint8).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + pixels)
        labels = draw.integers(0, 10, count, np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, count], ">i4").tobytes() + labels)
    for part in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = draw.integers(0, 256, (20, 3073), np.uint8)
        records[:, 0] %= 10
        (folder / f"{part}.bin").write_bytes(records.tobytes())


def printed(row: dict[str, str]) -> dict[str, str]:
    print(f"{row['preset']:22} {row['loss_digest'][:16]} {row['model_digest'][:16]}  "
          f"loss {row['last_loss']}, ranks {row['ranks']}", flush=True)  # fmt: skip
    return row


def check(found: Mapping[str, dict[str, str]], recorded: Mapping[str, dict[str, str]]) -> int:
    """Name each preset without a row, and each column that differs; 1 when there is one."""
    differences = [
        f"{name}: no row yet; write it with: python -m benchmarks.digests {name}"
        for name in found
        if name not in recorded
    ]
    differences += [
        f"{name}: {column} was {recorded[name].get(column)}, is {value}"
        for name, row in found.items()
        if name in recorded
        for column, value in row.items()
        if recorded[name].get(column) != value
    ]
    print("\n".join(differences) or f"the same to the bit: {', '.join(found)}")
    return 1 if differences else 0


def read_rows() -> dict[str, dict[str, str]]:
    if not RECORDED.exists():
        return {}
    with RECORDED.open(newline="") as file:
        return {row["preset"]: row for row in csv.DictReader(file)}


def write_rows(rows: Mapping[str, dict[str, str]]) -> None:
    with RECORDED.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(next(iter(rows.values()))), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


if __name__ == "__main__":
    sys.exit(main())
