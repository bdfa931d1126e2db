"""Where everything lies in a run directory. No other module builds such a path."""

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from hankelboard.storage.errors import ConfigError, RunNotFound

FORMAT_VERSION = 2
MAX_STEP = 2_147_483_647
"""The last step that charts and names have room for: signed, 32 bits."""
RUN_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
CHECKPOINT_NAME = re.compile(r"b(\d{1,6})-(\d{8,12})-a(\d{1,6})-(\d{4,9})", re.ASCII)
SYSTEMS_NAME = re.compile(r"b(\d{1,6})-(\d{8,12})-a(\d{1,6})-r(\d{1,6})\.safetensors", re.ASCII)
NUMBERED_JSON = re.compile(r"([0-9]{6}|[1-9][0-9]{6,8})\.json")  # one name per number
ATTEMPT_FOLDER = re.compile(r"[0-9]{6}")
ATTEMPT_JSON = re.compile(rf"({ATTEMPT_FOLDER.pattern})\.json")
LAST_ATTEMPT = 999_999  # records and names of checkpoints have no room for more
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
ULID_JSON = re.compile(rf"({ULID.pattern})\.json")
JOURNALS = (EVENTS, METRICS, SPECTRA) = ("events.jsonl", "metrics.jsonl", "spectra.jsonl")
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""Of one slash, too: a path that went through pathlib has lost the other."""
COPY_OR_MOUNT = (
    "runs are files in a folder, not at an address; mount it as a folder (rclone mount, s3fs, sshfs), "
    "or train in a local folder and copy it there (rclone copy, rsync -a RUNS/ HOST:RUNS/)"
)
_ELSEWHERE = {"file": "give the folder itself, without file://"}
STRAY_PREFIX = ".writing-"  # a temporary that atomic.py or checkpoints.py had not published yet


def runs_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of runs: the one given, else $HANKELBOARD_RUNS, else ./runs.

    Raises
    ------
    ConfigError
        If it is an address of another place, such as s3://bucket/runs: runs are files of this machine.
    """
    chosen = given or os.environ.get("HANKELBOARD_RUNS") or "runs"
    if match := ADDRESS.match(os.fspath(chosen)):
        raise ConfigError(f"{os.fspath(chosen)}: {_ELSEWHERE.get(match[1].lower(), COPY_OR_MOUNT)}")
    return Path(chosen)


@dataclass(frozen=True, order=True)
class CheckpointName:
    """b0-00000500-a0-0003: branch, step, attempt, sequence (unique and rising within the run)."""

    sequence: int
    branch: int
    step: int
    attempt: int

    def __str__(self) -> str:
        return f"b{self.branch}-{self.step:08d}-a{self.attempt}-{self.sequence:04d}"

    @classmethod
    def parse(cls, name: str) -> "CheckpointName | None":
        """Return the parts of a checkpoint's name, or None when it is not one as `str` would write it.

        Zeros in front of a number are refused, so that no two folders have one name.
        """
        match = CHECKPOINT_NAME.fullmatch(name)
        if match is None:
            return None
        branch, step, attempt, sequence = map(int, match.groups())
        parsed = cls(sequence=sequence, branch=branch, step=step, attempt=attempt)
        return parsed if str(parsed) == name and step <= MAX_STEP else None


@dataclass(frozen=True, order=True)
class SystemsName:
    """b0-00000450-a0-r1: branch, step, attempt, and how many reductions are in the weights."""

    step: int
    reductions: int
    branch: int
    attempt: int

    def __str__(self) -> str:
        return f"b{self.branch}-{self.step:08d}-a{self.attempt}-r{self.reductions}.safetensors"

    @classmethod
    def parse(cls, name: str) -> "SystemsName | None":
        """Return the parts of a file's name, or None when it is not one as `str` would write it."""
        match = SYSTEMS_NAME.fullmatch(name)
        if match is None:
            return None
        branch, step, attempt, reductions = map(int, match.groups())
        parsed = cls(step=step, reductions=reductions, branch=branch, attempt=attempt)
        return parsed if str(parsed) == name and step <= MAX_STEP else None


@dataclass(frozen=True)
class RunPaths:
    """Every path inside one run directory."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def run_json(self) -> Path:
        return self.root / "run.json"

    @property
    def lock(self) -> Path:
        return self.root / "run.lock"

    @property
    def status(self) -> Path:
        return self.root / "status.json"

    @property
    def journals(self) -> Path:
        """Return the folder of the journals: the run directory, or that of the latest attempt that took over.

        An attempt takes over when it is not certain that the one before it writes no more.
        """
        numbers = (int(name) for name in self.attempt_files() if ATTEMPT_FOLDER.fullmatch(name))
        folders = (self.taken_over(number) for number in sorted(numbers, reverse=True))
        return next((folder for folder in folders if folder.is_dir() and not folder.is_symlink()), self.root)

    @property
    def events(self) -> Path:
        return self.journals / EVENTS

    @property
    def metrics(self) -> Path:
        return self.journals / METRICS

    @property
    def spectra(self) -> Path:
        return self.journals / SPECTRA

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    def attempt_files(self) -> list[str]:
        """Return the names in the folder of attempts as they are now, on a file server, too.

        Opening a folder makes such a client ask again. Nothing is there, too, when it is a link.
        """
        try:
            folder = os.open(self.attempts, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            if error.errno == errno.ELOOP:
                return []
            raise
        try:
            return os.listdir(folder)
        finally:
            os.close(folder)

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def proposals(self) -> Path:
        return self.root / "proposals"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def notes(self) -> Path:
        return self.root / "notes"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def measurements(self) -> Path:
        return self.root / "measurements"

    @property
    def systems(self) -> Path:
        return self.root / "systems"

    @property
    def analyses(self) -> Path:
        return self.root / "analyses"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    def attempt(self, number: int) -> Path:
        return self.attempts / f"{number:06d}.json"

    def ended(self, number: int) -> Path:
        return self.attempts / f"{number:06d}-ended.json"

    def taken_over(self, number: int) -> Path:
        """Return the folder of the journals that attempt `number` goes on with, if it took over."""
        return self.attempts / f"{number:06d}"

    def proposal(self, number: int) -> Path:
        return self.proposals / f"{number:06d}.json"

    def waited(self, number: int) -> Path:
        """Return where the seconds stand that a released proposal has waited."""
        return self.proposals / f"{number:06d}.waited.json"

    def decision(self, number: int) -> Path:
        return self.decisions / f"{number:06d}.json"

    def command(self, command_id: str) -> Path:
        return self.inbox / f"{_checked_ulid(command_id)}.json"

    def note(self, note_id: str) -> Path:
        return self.notes / f"{_checked_ulid(note_id)}.json"

    def measurement(self, command_id: str) -> Path:
        return self.measurements / f"{_checked_ulid(command_id)}.json"

    def system(self, name: SystemsName) -> Path:
        return self.systems / str(name)

    def analysis(self, analysis_id: str) -> Path:
        return self.analyses / f"{_checked_ulid(analysis_id)}.json"

    def checkpoint(self, name: CheckpointName) -> Path:
        return self.checkpoints / str(name)

    def building(self, name: CheckpointName) -> Path:
        """Return where a checkpoint is built before it is published by a rename."""
        return self.checkpoints / f"{STRAY_PREFIX}{name}"

    def manifest(self, name: CheckpointName) -> Path:
        return manifest_in(self.checkpoint(name))

    def tensorboard_of(self, branch: int) -> Path:
        return self.tensorboard / f"branch-{branch}"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that a new run has."""
        return (self.proposals, self.decisions, self.inbox, self.notes, self.checkpoints)

    @property
    def all_folders(self) -> tuple[Path, ...]:
        return (
            *self.folders, self.measurements, self.systems, self.analyses, self.tensorboard, self.attempts,
        )  # fmt: skip

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that lie in the run directory itself, the journals of the first attempt among them."""
        journals = (self.root / name for name in JOURNALS)
        return (self.run_json, self.lock, self.status, *journals, self.log)


_FOLDERS = frozenset(path.name for path in RunPaths(Path()).all_folders)
_IN_FOLDERS = {
    "checkpoints": CHECKPOINT_NAME,
    "tensorboard": re.compile(r"branch-\d+", re.ASCII),
    "attempts": re.compile(rf"{ATTEMPT_FOLDER.pattern}|{ULID.pattern}"),
}
"""Names of folders that lie in one of those."""


def depth_of_folder(folder: Path) -> int:
    """Return how many of the last parts of this path are folders inside a run; 0: none.

    Known by the names that this module gives: of what lies elsewhere a folder may be taken for one of a run
    (then no link is followed there), never one of a run for another.

    >>> depth_of_folder(Path("runs/a/checkpoints/b0-00000500-a0-0003")), depth_of_folder(Path("runs/a"))
    (2, 0)
    """
    *_, above, name = ("", "", *folder.parts)
    inner = _IN_FOLDERS.get(above)
    if inner is not None and inner.fullmatch(name.removeprefix(STRAY_PREFIX)):
        return 2
    return 1 if name in _FOLDERS else 0


def _checked_ulid(name: str) -> str:
    if ULID.fullmatch(name) is None:
        raise ValueError(f"{name[:100]!r} is not the id of a command, a note or an analysis")
    return name


def manifest_in(checkpoint: Path) -> Path:
    """Return the path of the manifest of a checkpoint folder, published or still being built."""
    return checkpoint / "manifest.json"


def run_paths(runs: Path, run_id: str) -> RunPaths:
    """Return the paths of one run. Anything that is not a run id never becomes a path.

    Raises
    ------
    RunNotFound
        If `run_id` is not a run id (letters, digits, dot, dash, underscore) or no such folder exists.
    """
    if RUN_ID.fullmatch(run_id) is None:
        shown = run_id if len(run_id) <= 110 else f"{run_id[:100]}…"
        raise RunNotFound(f"{shown!r} is not a run id: lower-case letters, digits, '.', '_' and '-' only")
    root = runs / run_id
    if not root.is_dir():
        raise RunNotFound(f"no run {run_id} in {runs}; `hankelboard runs` lists those that are there")
    return RunPaths(root)
