"""Whatever lies in the place of each file and folder of a run: nothing stops, hangs or touches others.

    python -m tests.corruption_sweep [PLACE …]

tries everything on a run that was really trained and prints what happened; tests/test_corruption.py takes a
share of it. A run is corrupted anew for every look at it: a worker with a healthy run beside it, the trainer,
every page, every command.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
import traceback
from collections import Counter
from pathlib import Path

from hankelboard.access import tickets
from hankelboard.storage import checkpoints, commands, proposals, systems
from hankelboard.storage.history import read_history
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.runs import create_run, list_runs
from hankelboard.storage.status import read_status, write_status
from hankelboard.trainer.cli import main as hankelboard
from hankelboard.trainer.training.loop import train_run
from tests.trainer.small_run import SmallRun
from tests.trainer.work.scripted_worker import Scripted

LIMIT_S = 120.0
"""A look that takes longer hangs: generous, the machine may be busy."""
HUGE = 10**12
FINISH = "start()\nsay('run_finished', best=None)"


# What may lie in a place.


def link_to_file(path, outside):
    path.symlink_to(outside / "letter")


def link_to_folder(path, outside):
    path.symlink_to(outside / "folder")


def link_to_nothing(path, outside):
    path.symlink_to(outside / "nothing")


def link_to_itself(path, outside):
    path.symlink_to(path.name)


def link_to_device(path, outside):
    path.symlink_to("/dev/zero")


def pipe(path, outside):
    os.mkfifo(path)


def device(path, outside):
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))


def folder(path, outside):
    (path / "inner").mkdir(parents=True)


def file(path, outside):
    path.write_bytes(b"a file\n")


def nothing(path, outside):
    """It is simply gone."""


def huge_file(path, outside):
    path.touch()
    os.truncate(path, HUGE)


def other_json(text):
    def put(path, outside):
        path.write_text(text + "\n")

    put.__name__ = f"json {text[:12]}"
    return put


ODD = [
    link_to_file, link_to_folder, link_to_nothing, link_to_itself, link_to_device, pipe, device, folder, file,
    nothing, huge_file, other_json("[]"), other_json("17"), other_json('"text"'), other_json("{}"),
]  # fmt: skip
WRONG = ([], {}, "text", -1, None, [[1]], {"a": {}}, True, 1e300)


def wrong_types(path, kind):
    """Each key of each record of a file with values of all wrong types, a file's content at a time."""
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    for index, value in enumerate(WRONG):
        yield (
            f"{kind} {value!r}",
            "".join(
                json.dumps(
                    {
                        key: value if number % 3 == index % 3 else old
                        for number, (key, old) in enumerate(r.items())
                    }
                )
                + "\n"
                for r in records
            ),
        )


# The run.


def build(runs: Path) -> RunPaths:
    """A run that was really trained, interrupted, with something in each folder; and a healthy queued one."""
    run = SmallRun(
        runs, output={"tensorboard": False, "systems": True}, reduction={"policy": "ask", "steps": [20]}
    )
    with run.training():
        run.wait_pending(1)
        measured = run.send("measure", proposal=1, ranks=[6, 6])
        run.wait_answer(measured)
        run.send("stop")
    paths = run.paths
    with Journal(paths.events) as journal:  # as if it had been asked to end by a signal
        journal.append({"kind": "attempt_ended", "step": 20, "branch": 0, "attempt": 0, "reason": "asked to"})
    proposals.decide(paths, 1, "approve", by="ada", via="test")
    commands.send_command(paths, "resume", by="ada", via="test")
    commands.add_note(paths, "tag", ["x"], by="ada", via="test")
    with contextlib.suppress(Exception):
        hankelboard(["analyse", paths.run_id, "--runs-dir", str(runs)])
    if not paths.analyses.is_dir():
        systems.publish_analysis(
            paths, {"until_step": 0, "provisional": True, "left_out_before_cut": 0, "branch": 0, "layers": []}
        )
    paths.log.write_bytes(b"a line\n")
    paths.lock.touch()
    paths.tensorboard_of(0).mkdir(parents=True)
    (paths.tensorboard_of(0) / "events.out").touch()
    write_status(paths, read_status(paths))
    create_run(runs, name="healthy", config={"training": {}})
    return paths


def places(paths: RunPaths) -> dict[str, Path]:
    """Each kind of file and folder once, by its name in the run."""
    found = {path.name: path for path in (*paths.files, *paths.all_folders)}
    for inner in paths.all_folders:
        name = sorted(os.listdir(inner))[0]
        found[f"{inner.name}/*"] = inner / name
    checkpoint = paths.checkpoint(checkpoints.checkpoint_names(paths)[-1])
    for name in sorted(os.listdir(checkpoint)):
        found[f"checkpoints/*/{name}"] = checkpoint / name
    return found


class Sweep:
    """One run, corrupted at one place in one way after another."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.template = folder / "template"
        paths = build(self.template)
        self.run_id = paths.run_id
        self.places = {name: path.relative_to(self.template) for name, path in places(paths).items()}
        self.checkpoint = str(checkpoints.checkpoint_names(paths)[0])
        self.outside = folder / "outside"
        (self.outside / "folder" / "inner").mkdir(parents=True)
        for name in ("letter", "folder/letter", "folder/inner/letter", "folder/000001.json"):
            (self.outside / name).write_text('{"a letter": "to nobody"}')
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def cases(self, only=()):
        """Every (place, name of the corruption, what puts it there)."""
        for place, inside in self.places.items():
            if only and place not in only:
                continue
            original = self.template / inside
            for put in ODD:
                fits = original.is_dir() if put is file else not original.is_dir() if put is folder else True
                if fits:
                    yield place, put.__name__, put
            if original.suffix in (".json", ".jsonl"):
                for name, text in wrong_types(original, "keys"):
                    yield place, name, lambda path, _, text=text: path.write_text(text)

    def look(self, looks, place, name, put):
        """Try one corruption with each of these looks, a name and a function of the run's paths.

        Those of one kind look at the same copy, one after another.
        """
        kinds = set()
        for what, call in looks.items():
            kind = what.partition(" ")[0]
            if kind not in kinds and not self._corrupt(place, put):
                return
            kinds.add(kind)
            before = everything_in(self.outside)
            problem = in_time(lambda call=call: call(run_paths(self.folder / "runs", self.run_id)))
            if everything_in(self.outside) != before:
                problem = f"{problem or ''} TOUCHED what is outside"
            self.counts[kind] += 1
            if problem:
                self.failures.append(f"{place}: {name}: {what}: {problem}")
                print(self.failures[-1], file=sys.stderr, flush=True)

    def _corrupt(self, place, put):
        """A fresh copy of the run with something else in this place; False where that is not allowed here."""
        runs = self.folder / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(self.template, runs)
        for paths in list_runs(runs):
            tickets.issue(paths)
        victim = runs / self.places[place]
        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
        try:
            put(victim, self.outside)
        except PermissionError:  # no devices here
            self.counts["not allowed here"] += 1
            return False
        return True

    # The looks: each returns what went wrong, or nothing.

    def worker(self, paths):
        """A worker looks three times; a healthy run beside it is trained."""
        worker = Scripted(paths.root.parent, FINISH, **{self.run_id.split("-")[2]: "pass"})
        for _ in range(3):
            worker.round()
            worker._kill_what_does_not_listen()
        worker._announce()
        (healthy,) = paths.root.parent.glob("*healthy*")
        state = read_history(RunPaths(healthy)).state
        return "" if state == "finished" else f"the other run is {state}"

    def trainer(self, paths):
        """What a child or `hankelboard run` does, until it ends by itself; a refusal is an answer."""
        done = threading.Event()
        threading.Thread(target=stop_what_waits, args=(paths, done), daemon=True).start()
        try:
            train_run(paths, clock=SmallRun.clock)
        except Exception as error:
            return "" if is_an_answer(error) else describe(error)
        finally:
            done.set()
        return ""

    def commands(self):
        """Every command that acts on or reads a run."""
        run, out = self.run_id, str(self.folder / "out")
        for line in (
            "runs", "runs --json", f"show {run}", f"show {run} --json", f"proposals {run}",
            f"checkpoints {run}",
            f"proposals {run} --json", f"verify {run}", f"decide {run} 1 reject", f"send {run} pause",
            f"policy {run} auto", f"measure {run} 1", f"rollback {run} {self.checkpoint}", f"analyse {run}",
            f"export {run} last {out}", f"export {run} --metrics {out}.csv",
            f"export {run} --spectra {out}.csv",
            f"compare {run}", f"compare {run} --json",
        ):  # fmt: skip
            yield f"command {line}", lambda paths, line=line: self._command(paths, line)

    def _command(self, paths, line):
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                hankelboard([*line.split(), "--runs-dir", str(paths.root.parent)])
            except SystemExit:
                pass
            except Exception as error:
                return describe(error)
        return ""

    def pages(self):
        """Every page, as Streamlit runs it."""
        from hankelboard.app import pages

        for page in pages.PAGES:
            if page.name not in ("glossary", "new_run"):
                yield f"page {page.name}", lambda paths, page=page: self._page(paths, page)

    def _page(self, paths, page):
        from streamlit.testing.v1 import AppTest

        from hankelboard.app.data import runs

        os.environ["HANKELBOARD_RUNS"] = str(paths.root.parent)
        runs._caches.clear()
        runs._refreshed.clear()
        main = Path(__file__).parents[1] / "app" / "main.py"
        test = AppTest.from_file(main, default_timeout=LIMIT_S).run()
        test.switch_page(page.path)
        if page.of_one_run:
            test.query_params["run"] = self.run_id
            test.query_params["proposal"] = "1"
        elif page.name == "compare":
            test.query_params["runs"] = self.run_id
        test.run()
        return "; ".join(f"{item.message} {item.stack_trace[-1:]}" for item in test.exception)


def everything_in(folder):
    """Names, hashes and times of all that lies in a folder."""
    return {
        (
            str(path),
            path.lstat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in folder.rglob("*")
    }


def in_time(call):
    """What a look that must neither hang nor raise says is wrong."""
    said = []

    def look():
        try:
            said.append(call())
        except BaseException as error:
            said.append(describe(error))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return said[0] if said else "HANGS"


def stop_what_waits(paths, done):
    """Where the decision was lost a run waits for a person: that is no hang."""
    while not done.wait(0.2):
        status = read_status(paths)
        if status and status["state"] == "waiting_for_decision":
            paths.inbox.mkdir(exist_ok=True)
            commands.send_command(paths, "stop", by="ada", via="test")


def is_an_answer(error):
    """Whether an error is for people, or of the system about a path: the command line prints it in a line."""
    from hankelboard.storage.errors import HankelboardError

    return isinstance(error, HankelboardError | OSError)


def describe(error):
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("places", nargs="*")
    parser.add_argument("--without", default="", help="looks left out: worker, trainer, command, page")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth corruption")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        os.environ["HANKELBOARD_STATE"] = f"{scratch}/state"
        sweep = Sweep(Path(scratch))
        looks = {
            "worker": sweep.worker,
            "trainer": sweep.trainer,
            **dict(sweep.commands()),
            **dict(sweep.pages()),
        }
        left_out = options.without.split(",")
        looks = {what: call for what, call in looks.items() if what.partition(" ")[0] not in left_out}
        cases = list(sweep.cases(options.places))[:: options.every]
        for number, case in enumerate(cases):
            print(f"{number} of {len(cases)}, {len(sweep.failures)} failures", flush=True)
            with contextlib.redirect_stdout(io.StringIO()):
                sweep.look(looks, *case)
    print(f"{len(sweep.places)} places, {len(cases)} corruptions; looks: {dict(sweep.counts)}")
    print(f"{len(sweep.failures)} failures")
    for failure in sweep.failures:
        print(failure)
    return 1 if sweep.failures else 0


if __name__ == "__main__":
    sys.exit(main())
