"""`hankelboard worth`, started from page New run: a process of its own, its progress, and its answer."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from hankelboard.access.roles import Action, demand
from hankelboard.app.data import command_line
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.app.data.visitors import visitor
from hankelboard.settings.limits import check_allowed_here, of_browser
from hankelboard.settings.new_run import NewRun
from hankelboard.settings.own_code import own_code_named
from hankelboard.storage import lifeline
from hankelboard.storage.errors import HankelboardError
from hankelboard.storage.layout import runs_directory

FORGOTTEN_S = 180.0
"""A question whose page nobody looks at for so long is ended: browsers ask once a minute in a hidden tab."""
LOOK_S = 1.0
GIVES_WAY = 10
"""Niceness: trainings that were queued come first."""
ONE_AT_A_TIME = "another page asks at the moment: once that is answered, this can be"


@dataclass
class Job:
    """A question at work, or answered."""

    arguments: list[str]
    process: subprocess.Popen[str]
    held: int
    """Our end of its lifeline."""
    said: str = ""
    """Its last line."""
    words: list[str] = field(default_factory=list)
    """The answer, once there is one."""
    problem: str = ""
    over: bool = False
    seen: float = field(default_factory=time.monotonic)
    """When a page last looked."""


_lock = threading.Lock()
_jobs: list[Job] = []
"""At most one, that is at work."""


def arguments(chosen: NewRun) -> list[str]:
    """Return the arguments of `hankelboard worth` for the choices of a new run."""
    given = [part for assignment in chosen.assignments for part in ("--set", assignment)]
    return ["worth", "--preset", chosen.preset, *given]


def ask(chosen: NewRun) -> Job:
    """Begin to ask (for callbacks).

    Raises
    ------
    CreationRefused
        If the visitor may not queue such a run, or another question is at work.
    """
    try:
        demand(visitor(), Action.QUEUE_PRESET)
        _check(chosen)
    except (HankelboardError, OSError) as error:
        raise CreationRefused(str(error)) from None
    with _lock:
        if any(not job.over for job in _jobs):
            raise CreationRefused(ONE_AT_A_TIME)
        _jobs[:] = [job := _start(arguments(chosen))]
    for follow in (_follow, _watch):
        threading.Thread(target=follow, args=(job,), name="follows a question", daemon=True).start()
    return job


def _check(chosen: NewRun) -> None:
    """Raise HankelboardError for what a browser may not start; own code is asked about in a terminal only."""
    for key in command_line.of_the_owner(chosen):
        command_line.demand_own_code(key)
    config = chosen.config()
    check_allowed_here(config, of_browser(), runs_directory())
    for named in own_code_named(config.as_dict()):
        raise named.refusal("code of your own is asked about in a terminal: hankelboard worth")


def _start(given: Sequence[str]) -> Job:
    demand(visitor(), Action.QUEUE_PRESET)
    line, held = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hankelboard", *given, "--json"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
            errors="replace", start_new_session=True, pass_fds=(line,),
            env={**os.environ, lifeline.VARIABLE: str(line)},
        )  # fmt: skip
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(line)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, GIVES_WAY)
    return Job(arguments=list(given), process=process, held=held)


def look(job: Job) -> Job:
    """Return the job as it is now, and note that somebody looks."""
    job.seen = time.monotonic()
    return job


def end(job: Job) -> None:
    """End a question, answered or not."""
    if not job.over:
        job.process.terminate()


def _follow(job: Job) -> None:
    assert job.process.stderr is not None and job.process.stdout is not None
    for line in job.process.stderr:
        job.said = line.strip() or job.said
    answer = job.process.stdout.read()
    try:
        if job.process.wait() == 0:
            job.words = [str(line) for line in json.loads(answer)["words"]]
        else:
            job.problem = job.said.removeprefix("hankelboard: ") or "it ended without a word"
    except (ValueError, KeyError, TypeError) as error:
        job.problem = f"its answer cannot be read: {error}"
    finally:
        job.over = True
        os.close(job.held)


def _watch(job: Job) -> None:
    """End a question whose page is gone."""
    while not job.over:
        if time.monotonic() - job.seen > FORGOTTEN_S:
            end(job)
            return
        time.sleep(LOOK_S)
