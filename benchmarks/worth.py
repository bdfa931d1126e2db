"""What `hankelboard worth` answers, and what that costs: presets, with first seeds that it was not built on.

Each answer rests on three seeds or more, from the first one on. A row per answer in
docs/results/worth/answers.csv; answers that are there are not asked for again. `--table` writes the table of
docs/RESULTS.md, `--add FILE` takes the JSON that the command printed.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hankelboard.storage.figures import percent, points, seconds, significant

CSV = Path(__file__).parent.parent / "docs" / "results" / "worth" / "answers.csv"
PAGE = CSV.parent.parent.parent / "RESULTS.md"
PRESETS = ("tones-lru", "digits-lru", "smnist-lru", "text-mamba")
FIRST_SEEDS = (10, 20, 30)
COLUMNS = ("preset", "seeds", "verdict", "why", "states", "small", "steps", "accuracy", "gap", "low", "high",
           "updates", "trainings", "seconds", "training_s")  # fmt: skip


def row_of(preset: str, record: Mapping[str, Any]) -> dict[str, str]:
    """Return the row of an answer: with the gap of the size that it names, else of the first smaller one."""
    states = {int(divisor): dims for divisor, dims in record["states"].items()}
    divisor = record["divisor"] or min(set(states) - {1})
    gaps = [gap for gap in record["gaps"] if gap["divisor"] == divisor]
    gap = gaps[-1] if gaps else {"accuracy": "", "low": "", "high": ""}
    return {
        "preset": preset, "seeds": " ".join(map(str, record["seeds"])), "verdict": record["verdict"],
        "why": record["why"] or "", "states": str(states[1][0]), "small": str(states[divisor][0]),
        "steps": str(record["steps"]), "accuracy": str(record["accuracy"]), "gap": str(gap["accuracy"]),
        "low": str(gap["low"]), "high": str(gap["high"]), "updates": str(record["updates"]),
        "trainings": str(record["trainings"]), "seconds": f"{record['seconds']:.1f}",
        "training_s": f"{record['training_s']:.1f}",
    }  # fmt: skip


def read_rows() -> list[dict[str, str]]:
    """Return the answers so far."""
    with CSV.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add(preset: str, record: Mapping[str, Any]) -> None:
    """Append an answer."""
    is_new = not CSV.exists()
    with CSV.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row_of(preset, record))


def ask(preset: str, seed: int) -> dict[str, Any]:
    """Return the answer of the command line with one thread."""
    command = [sys.executable, "-m", "hankelboard", "worth", "--preset", preset, "--json", "--set",
               f"training.seed={seed}", "--set", "training.threads=1"]  # fmt: skip
    answer: dict[str, Any] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return answer


def table() -> str:
    """Return the answers as Markdown."""
    lines = ["| preset | seeds | answer | states | difference, points (90 %) | after | cost |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in sorted(read_rows(), key=lambda row: PRESETS.index(row["preset"])):
        gap = "none yet"
        if row["gap"]:
            small, low, high = (points(-float(row[key])) for key in ("gap", "high", "low"))
            gap = f"{small} [{low}, {high}]"
        why = f": {row['why']}" if row["why"] else ""
        lines.append(
            f"| {row['preset']} | {row['seeds'].replace(' ', ', ')} | {row['verdict']}{why} | "
            f"{row['small']} against {row['states']} ({percent(float(row['accuracy']), 1)}) | {gap} | "
            f"{row['steps']} updates | {int(row['updates']):,} updates, "
            f"{significant(float(row['trainings']), 2)} trainings |"
        )
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return the page with the block between <!-- worth --> and <!-- end --> made anew."""
    begin, mark, rest = page.partition("<!-- worth -->\n")
    return f"{begin}{mark}{table()}\n{rest[rest.index('<!-- end -->') :]}" if mark else page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", default=PRESETS)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--add", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.table:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    elif options.add:
        add(options.presets[0], json.loads(options.add.read_text(encoding="utf-8")))
    else:
        there = {(row["preset"], row["seeds"].split()[0]) for row in read_rows()} if CSV.exists() else set()
        for preset in options.presets:
            for seed in FIRST_SEEDS:
                if (preset, str(seed)) not in there:
                    record = ask(preset, seed)
                    add(preset, record)
                    print(preset, seed, record["words"][0], seconds(record["seconds"]))


if __name__ == "__main__":
    main()
