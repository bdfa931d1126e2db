"""From the C sources beside this file to a shared library, with the compiler of this machine."""

import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hankelboard.trainer.layers.recurrences.c_kernels import cache
from hankelboard.trainer.layers.recurrences.c_kernels.unavailable import Unavailable

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.[ch]")))
NAMES = ("cc", "gcc", "clang")
"""Compilers that are looked for, in this order, where CC in the environment names none."""
FLAGS = (
    "-std=c11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-fPIC",
    "-shared",
)  # fmt: skip
"""None that lets a compiler think there is no NaN or infinity, or change the order of sums."""
TIMEOUT_S = 60.0
"""After which a compiler counts as one that hangs; it takes a second or two."""


@dataclass(frozen=True)
class Compiler:
    command: tuple[str, ...]
    version: str
    """First line that it prints about itself."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Return how it compiles, for the processor of this machine alone."""
        native = "-march=native" if platform.machine() in ("x86_64", "AMD64", "i686") else "-mcpu=native"
        return (*FLAGS, native)

    def key(self) -> str:
        """Return a digest of all that the library depends on: sources, compiler, flags and processor."""
        parts = [*(path.read_bytes() for path in SOURCES)]
        parts += [each.encode() for each in (*self.command, self.version, *self.flags, _processor())]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:32]

    def build(self, folder: Path) -> Path:
        """Return a library compiled in this folder. Raise Unavailable where that fails or takes too long."""
        library = folder / "kernels.so"
        sources = [str(path) for path in SOURCES if path.suffix == ".c"]
        _run([*self.command, *self.flags, "-o", str(library), *sources], folder)
        if not library.is_file():
            raise Unavailable(f"{self.command[0]} made no library")
        return library


def obtain() -> tuple[Path, str]:
    """Return the library, found or compiled, and its compiler's version; else raise Unavailable."""
    try:
        chosen = find()
        folder, key = cache.folder(), chosen.key()
        if found := cache.find(folder, key):
            return found, chosen.version
        with cache.building(folder) as inside:
            return cache.publish(folder, key, chosen.build(inside)), chosen.version
    except (OSError, ValueError) as error:  # ValueError: CC is no command line
        raise Unavailable(str(error)) from error


def find() -> Compiler:
    """Return the compiler that CC names, else the first of `NAMES`. Raise Unavailable where there is none."""
    asked = shlex.split(os.environ.get("CC", ""))
    for command in [asked] if asked else [[name] for name in NAMES]:
        if path := shutil.which(command[0]):
            command = [path, *command[1:]]
            return Compiler(
                tuple(command), _run([*command, "--version"], Path("/")).partition("\n")[0].strip()
            )
    raise Unavailable(f"no C compiler was found ({', '.join(asked[:1] or NAMES)})")


def _run(command: list[str], folder: Path) -> str:
    """Return what a command prints. What it has started ends with it, and its files stay in the folder."""
    surroundings = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder)}
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=surroundings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise Unavailable(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        printed, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {TIMEOUT_S:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdout:
            process.stdout.close()
        process.wait()
    if process.returncode:
        raise Unavailable(f"{command[0]} failed: {_complaint(printed) or f'status {process.returncode}'}")
    return printed


def _complaint(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "")[:200]


def _processor() -> str:
    """Return model and abilities of the processor: what is compiled for one may be illegal on another."""
    names = ("model name", "flags", "Features", "CPU part")
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(names)}))
    return f"{platform.machine()} {platform.processor()}"
