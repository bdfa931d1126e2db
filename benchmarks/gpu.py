"""Everything that only a GPU can show, in one command of at most 8 minutes: `make gpu`.

    python -m benchmarks.gpu                  # writes gpu.csv and gpu.md to results/gpu, or to $OUT
    python -m benchmarks.gpu --dry-run        # the same paths on the CPU, with tiny shapes, in seconds

Each piece is a process with a limit of time. What fails, is missing or takes too long is a row that says why;
the other pieces go on, and rows that were measured before a limit stay. Nothing is installed.
"""

import argparse
import csv
import importlib.util
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

HEAD = ("piece", "what", "figure", "unit", "note")
LIMITS = {
    "machine": 30, "training": 60, "scifar": 70, "kernels": 110, "decode": 30, "forms": 90, "tests": 80,
}  # fmt: skip
"""Seconds of each piece, the most wanted first: 470 altogether."""
TESTS = (
    "tests/trainer/layers/recurrences/test_installed_kernels.py",
    "tests/trainer/layers/test_compilation.py",
)
RANKS = (128, 96, 64, 32, 16, 12)
ROUNDS = 7

Row = tuple[str, str, str, str]
"""What, figure, unit, note; the name of the piece comes before them."""


@dataclass(frozen=True)
class Plan:
    """Where to measure and at which sizes."""

    dry: bool

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.dry else "cuda")

    @property
    def rounds(self) -> int:
        return 1 if self.dry else ROUNDS

    def size(self, full: int, tiny: int) -> int:
        return tiny if self.dry else full


def machine(plan: Plan) -> Iterator[Row]:
    name = "CPU, a dry run" if plan.dry else torch.cuda.get_device_name()
    yield "device", name, "", ""
    yield "torch", torch.__version__, "", f"CUDA {torch.version.cuda}"
    for package in ("triton", "fla-core", "flash-linear-attention", "mamba-ssm", "pytest", "scipy"):
        try:
            yield package, metadata.version(package), "", ""
        except metadata.PackageNotFoundError:
            yield package, "", "", "not installed"


def kernels(plan: Plan) -> Iterator[Row]:
    """Forward and backward pass of each recurrence: ours, and that of a package where it agrees."""
    from hankelboard.trainer.layers.recurrences import installed_kernels as installed

    batch, length, width = plan.size(32, 2), plan.size(1024, 40), plan.size(64, 4)
    for kernel in installed.KERNELS:
        for rank in RANKS[-1:] if plan.dry else RANKS:
            sizes = {
                installed.SELECTIVE: (4 * width, rank),
                installed.SCALAR_DECAY: (1, 4, rank, width),
            }.get(kernel, (4, rank, width))
            draw = installed._source(plan.device)
            parts = tuple(each.requires_grad_() for each in kernel.sample(draw, batch, length, *sizes))
            what = f"{kernel.function}, N {rank}"
            yield timed(plan, f"{what}, own", partial(both_ways, kernel.own, parts))
            reason = installed.refusal(kernel, plan.device, sizes)
            if reason:
                yield f"{what}, {kernel.package}", "", "ms", reason
                continue
            theirs = kernel.load()
            work = partial(both_ways, partial(kernel.call, theirs), parts)
            yield timed(plan, f"{what}, {kernel.package}", work)


def forms(plan: Plan) -> Iterator[Row]:
    """Forward and backward pass of small presets: plain, compiled, and replayed as CUDA graphs."""
    from hankelboard.trainer.layers.compilation import Compiled

    for family in ("lru", "mamba") if not plan.dry else ("lru",):
        model = network(plan, {"family": family, "layers": 2, "width": 64, "state_dim": 64})
        inputs = torch.randn(plan.size(64, 2), plan.size(784, 16), 3, device=plan.device)
        yield timed(plan, f"{family}, eager", partial(step, model, model, inputs))
        for name, graphs in (("compiled", False), ("graphs", True)):
            if plan.dry:
                yield f"{family}, {name}", "", "ms", "left out: a dry run"
                continue
            try:
                forward = Compiled(model, cuda_graphs=graphs)
                yield timed(plan, f"{family}, {name}", partial(step, forward, model, inputs))
            except Exception as error:  # whatever a compiler may raise
                yield f"{family}, {name}", "", "ms", last_line(f"{type(error).__name__}: {error}")


def scifar(plan: Plan) -> Iterator[Row]:
    """A training step at the shape of the paper, 6 layers of 512 channels, before and after its cuts."""
    batch, length = plan.size(50, 2), plan.size(1024, 16)
    inputs = torch.randn(batch, length, 3, device=plan.device)
    for precision, goal in (("highest", 50), ("high", 15)):
        torch.set_float32_matmul_precision(precision)
        for rank in (384, 192, 96, 48) if not plan.dry else (8,):
            sizes = {"layers": plan.size(6, 2), "width": plan.size(512, 8), "state_dim": rank}
            model = network(plan, {"family": "lru", **sizes})
            optimizer = torch.optim.AdamW(model.parameters(), fused=True)
            what = f"step, N {rank}, {'float32' if precision == 'highest' else 'TF32'}"
            note = f"goal {goal} ms; the paper took about 86.8" if rank == 384 else ""
            work = partial(update, model, optimizer, inputs)
            yield timed(plan, what, work, note)
    torch.set_float32_matmul_precision("highest")


def decode(plan: Plan) -> Iterator[Row]:
    """One token at a time."""
    from hankelboard.settings.config import parse
    from hankelboard.trainer.layers.families import make_mixer

    width, steps = plan.size(512, 8), plan.size(100, 3)
    u = torch.randn(plan.size(32, 2), width, device=plan.device)
    for family in ("lru", "mamba2", "gla"):
        for rank in RANKS[-1:] if plan.dry else RANKS:
            layer = make_mixer(parse({"model": {"family": family, "width": width}}), 0, rank)
            layer = layer.to(plan.device).eval()
            work = partial(stepped, layer, u, steps)
            yield timed(plan, f"{family}, N {rank}", work, scale=1e6 / steps, unit="µs a token")


@torch.no_grad()
def stepped(layer: nn.Module, u: Tensor, steps: int) -> None:
    one: Callable[..., Any] = layer.step  # type: ignore[assignment]
    _, state = one(u)
    for _ in range(steps - 1):
        _, state = one(u, state)


def training(plan: Plan) -> Iterator[Row]:
    """One real run, cut half-way, by the command line."""
    from hankelboard.storage.history import read_history
    from hankelboard.storage.layout import run_paths

    settings = {
        "training.device": str(plan.device), "training.steps": plan.size(400, 4), "output.tensorboard": False,
        "reduction.policy": "auto", "reduction.steps": [plan.size(200, 2)],
    }  # fmt: skip
    assignments = [
        part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")
    ]
    with tempfile.TemporaryDirectory() as folder:
        where = ["--runs-dir", folder]
        made = command("new", "--preset", "digits-lru", "--no-queue", "--json", *assignments, *where)
        name = json.loads(made)["run"]
        started = time.perf_counter()
        command("run", name, *where)
        seconds = time.perf_counter() - started
        dims = read_history(run_paths(Path(folder), name)).state_dims
    yield (
        f"digits-lru, {settings['training.steps']} steps",
        f"{seconds:.1f}",
        "s",
        f"states at the end: {dims}",
    )


def command(*words: str) -> str:
    """Return what a command of hankelboard prints; RuntimeError with its last line when it fails."""
    done = subprocess.run([sys.executable, "-m", "hankelboard", *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"hankelboard {words[0]}: {last_line(done.stderr or done.stdout)}")
    return done.stdout


def tests(plan: Plan) -> Iterator[Row]:
    """Those that skip without a GPU."""
    if importlib.util.find_spec("pytest") is None:
        yield "tests", "", "", "not run: pytest is not installed"
        return
    only = "agrees_with_ours or replayed_graphs"
    words = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-rA", "-k", only, *TESTS]
    if importlib.util.find_spec("xdist") is None:
        words.remove("-n0")
    if plan.dry:
        words.append("--collect-only")
    done = subprocess.run(words, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        outcome, _, rest = line.partition(" ")
        if outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
            yield rest.removeprefix("tests/trainer/layers/"), outcome.lower(), "", ""
    yield "all", "", "", last_line(done.stdout)


PIECES: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "machine": machine, "training": training, "scifar": scifar, "kernels": kernels, "decode": decode,
    "forms": forms, "tests": tests,
}  # fmt: skip


def network(plan: Plan, model: dict[str, Any]) -> nn.Module:
    from hankelboard.settings.config import parse
    from hankelboard.trainer.data.task import Split, Task
    from hankelboard.trainer.training.model import build_model

    split = Split(torch.zeros(1, 2, 3), torch.zeros(1, dtype=torch.int64))
    torch.manual_seed(0)
    return build_model(parse({"model": model}), Task(split, split, split, classes=10)).to(plan.device).train()


def step(forward: Callable[[Tensor], Tensor], model: nn.Module, inputs: Tensor) -> None:
    model.zero_grad(set_to_none=True)
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    cross_entropy(forward(inputs), labels).backward()


def update(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> None:
    step(model, model, inputs)
    optimizer.step()


def both_ways(function: Callable[..., Tensor], parts: tuple[Tensor, ...]) -> None:
    y = function(*parts)
    torch.autograd.grad(y, parts, torch.ones_like(y))


def timed(
    plan: Plan, what: str, work: Callable[[], object], note: str = "", scale: float = 1e3, unit: str = "ms"
) -> Row:
    """Return the median after three calls to warm up, and in the note extremes; or why there is none."""
    try:
        seconds = [clocked(plan, work) for _ in range(3 + plan.rounds)][3:]
    except Exception as error:  # out of memory, an operation that the device lacks: other rows go on
        return what, "", unit, last_line(f"{type(error).__name__}: {error}")
    low, high = (scale * each for each in (min(seconds), max(seconds)))
    digits = 3 if high < 1 else 1
    spread = f"{low:.{digits}f} to {high:.{digits}f}"
    return (
        what,
        f"{scale * statistics.median(seconds):.{digits}f}",
        unit,
        "; ".join(filter(None, (spread, note))),
    )


def clocked(plan: Plan, work: Callable[[], object]) -> float:
    wait = (lambda: None) if plan.dry else torch.cuda.synchronize
    wait()
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was said"


def printed(piece: str, plan: Plan) -> None:
    """Print rows of a piece as lines of JSON as soon as each is there."""
    for row in PIECES[piece](plan):
        print(json.dumps(row), flush=True)


def collected(piece: str, words: list[str], seconds: float) -> list[Row]:
    """Run a piece in a process of its own; return its rows, and one more if it did not come to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as wrong:
        process, reason = subprocess.Popen(words, stdout=out, stderr=wrong, start_new_session=True), ""
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code, reason = 1, f"stopped after {math.ceil(seconds)} s"
            os.killpg(process.pid, signal.SIGKILL)  # its run or its tests, too
            process.wait()
        out.seek(0)
        wrong.seek(0)
        rows = [tuple(json.loads(line)) for line in out.read().splitlines() if line.startswith("[")]
        if code:
            rows.append((piece, "", "", reason or last_line(wrong.read())))
    return rows


def written(folder: Path, rows: list[tuple[str, ...]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "gpu.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *rows])
    lines = ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in (HEAD, *rows)]
    (folder / "gpu.md").write_text("\n".join([lines[0], "|" + "---|" * len(HEAD), *lines[1:]]) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("pieces", nargs="*", metavar="PIECE", help=f"of {', '.join(PIECES)}; default: all")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, with tiny shapes")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "results/gpu"))
    parser.add_argument("--rows-of", choices=PIECES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    plan = Plan(options.dry_run)
    if options.rows_of:
        printed(options.rows_of, plan)
        return 0
    if not (plan.dry or torch.cuda.is_available()):
        parser.error(f"torch {torch.__version__} sees no CUDA device; --dry-run takes the CPU")
    if unknown := set(options.pieces) - set(PIECES):
        parser.error(f"no such piece: {', '.join(sorted(unknown))}; there are {', '.join(PIECES)}")
    rows: list[tuple[str, ...]] = []
    for piece in options.pieces or PIECES:
        dry = ["--dry-run"] if plan.dry else []
        words = [sys.executable, "-m", "benchmarks.gpu", "--rows-of", piece, *dry]
        rows += [(piece, *row) for row in collected(piece, words, LIMITS[piece])]
        written(options.out, rows)
        print(f"{piece}: {sum(each[0] == piece for each in rows)} rows", flush=True)
    print(f"written: {options.out / 'gpu.csv'} and gpu.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
