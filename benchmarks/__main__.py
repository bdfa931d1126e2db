"""Run every benchmark, print the tables and write them to README.md with date, commit and machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks import (
    associative,
    compiled,
    cut,
    eight_hours,
    evidence,
    kernels,
    log_step,
    overhead,
    pages,
    reading,
    recurrence,
    regularisation,
    run_list,
    selective,
    states,
    streaming,
    truncation,
)
from benchmarks.repetitions import Missing

README = Path(__file__).with_name("README.md")
MODULES = (
    recurrence, associative, states, selective, kernels, cut, compiled, truncation, evidence, regularisation,
    overhead, log_step, streaming, reading, run_list, pages, eight_hours,
)  # fmt: skip


def markdown(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def provenance() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.stdout.strip() or 'unknown'}, {os.cpu_count()} cores "
        f"({platform.machine()}), Python {platform.python_version()}, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads. Machines are noisy: only ratios within one table mean anything."
    )


def main() -> None:
    torch.manual_seed(0)
    parts = ["# Benchmarks", "Made by `make bench`.", provenance()]
    for module in MODULES:
        claim = (module.__doc__ or "").strip()
        try:
            table = markdown(module.rows())
        except Missing as missing:
            table = str(missing)
        print(f"\n{claim}\n\n{table}", flush=True)
        parts += [f"## {module.__name__.rpartition('.')[2]}", claim, table]
    README.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
