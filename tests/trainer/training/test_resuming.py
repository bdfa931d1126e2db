"""Stopped and resumed, a run is what it would have been in one go; what changed meanwhile is not hidden."""

import importlib
import random
import sys
from textwrap import dedent

import pytest
import torch
from threadpoolctl import threadpool_info

from hankelboard.settings.imports import import_object
from hankelboard.storage import commands
from hankelboard.storage.journal import read_journal
from hankelboard.storage.verification import verify_run
from hankelboard.trainer.compression import generators
from hankelboard.trainer.data.task import Split
from hankelboard.trainer.training import loop, resumption
from hankelboard.trainer.training.evaluation import evaluate
from hankelboard.trainer.work import orphans
from tests.trainer.small_run import ADA

SOURCES = {
    "__init__": "",
    "noise": """
        import random

        import numpy as np
        import torch

        def draw():
            return 1.0 + 0.1 * (np.random.rand() + random.gauss(0.0, 1.0) + torch.rand(()).item())
        """,
    "model": """
        from torch import nn

        from . import noise
        from hankelboard.trainer.layers.lru import LRU

        class Noisy(nn.Module):
            def __init__(self, channels, classes):
                super().__init__()
                self.mixer = LRU(1, 6)
                self.head = nn.Linear(1, classes)
                self.offset = noise.draw()  # no buffer: every attempt must draw it alike

            def forward(self, inputs):
                return self.head(self.mixer(inputs).mean(1)) * noise.draw() + self.offset
        """,
    "data": """
        import random

        import numpy as np
        import torch

        from hankelboard.trainer.data.task import Split, Task

        def shuffled():
            numbers = list(range(256))
            random.shuffle(numbers)
            order = np.random.permutation(256)[torch.randperm(256)]
            numbers = torch.tensor(numbers)[order]
            bits = (numbers[:, None] >> torch.arange(8)) % 2
            splits = [Split(part[:, :, None].float(), part.sum(1) % 2) for part in bits.split([160, 48, 48])]
            return Task(*splits, classes=2)
        """,
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody's, imported anew where a test says so; its folder."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "code" / "somebodys"
    folder.mkdir(parents=True)
    for name, text in SOURCES.items():
        (folder / f"{name}.py").write_text(dedent(text))
    forget()
    yield folder
    forget()


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "somebodys"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def own_run(small_run, package):
    """Makes short runs of somebody's model on somebody's data."""

    def make(cuts=(), **training):
        code = {"path": str(package.parent)}
        return small_run(
            model={"family": "somebodys.model:Noisy", **code},
            data={"task": "somebodys.data:shuffled", **code},
            training={"steps": 12, **training},
            reduction={"attempts": 0, "steps": list(cuts), "tolerance": 0.2},
        )

    return make


def stop_at(run, step):
    """Stop there; the next process would find other generators."""
    run.send("stop", at_step=step)
    assert run.train() == "stopped"
    forget()
    generators.seed(random.randrange(1000))


def attempts(run):
    return run.events("attempt_started")


def test_own_code_draws_after_a_resumption_what_it_would_have_drawn(own_run):
    """From Python's, NumPy's and PyTorch's generator, in forward passes of validation, too."""
    whole, parted = (own_run(steps=40, cuts=[20]) for _ in range(2))
    assert whole.train() == "finished"
    stop_at(parted, 25)
    assert parted.train() == "finished"
    assert parted.final_weights() == whole.final_weights()
    assert losses(parted) == losses(whole)


def losses(run):
    return {r["step"]: (r.get("train/loss"), r.get("val/loss")) for r in read_journal(run.paths.metrics)[0]}


def test_what_is_measured_and_how_often_draws_nothing_of_training(package):
    noisy = import_object("somebodys.model:Noisy", key="model.family", folder=str(package.parent))
    network = noisy(channels=1, classes=2)
    split = Split(torch.rand(8, 6, 1), torch.zeros(8, dtype=torch.int64))
    before = generators.states()
    evaluate(network, split)
    assert generators.states() == before


def test_a_function_that_shuffles_before_it_splits_gives_the_same_split_again(own_run):
    run, other = own_run(), own_run(seed=1)
    stop_at(run, 5)
    assert run.train() == "finished" and other.train() == "finished"
    first, second = (event["fingerprints"]["data"] for event in attempts(run))
    assert set(first) == {"train", "val", "test"} and first == second
    assert attempts(other)[0]["fingerprints"]["data"] == first  # the seed of the split is the same


def test_a_run_of_before_that_draws_its_data_goes_on_with_its_own_seed(own_run):
    run = own_run(seed=3)
    stop_at(run, 10)
    text = run.paths.events.read_text()
    assert '"data_seed"' in text
    run.paths.events.write_text(text.replace('"data_seed"', '"of_a_newer"'))
    assert run.train(accept_changes=ADA) == "finished"
    assert attempts(run)[1]["data_seed"] == 3


def edit(package, name, *replaced):
    file = package / f"{name}.py"
    text = file.read_text()
    file.write_text(text.replace(*replaced) if replaced else f"{text}\n# edited\n")
    forget()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("model",), "somebodys/model.py (model.family)"),
        (("noise",), "somebodys/noise.py (model.family)"),
        (("data", "[160, 48, 48]", "[160, 47, 49]"), "the validation data (val), the test data (test)"),
        (("data", "% 2)", "% 2 + 0)"), None),
    ],
)
def test_changed_data_or_code_of_the_model_is_refused_and_named(own_run, package, changed, named):
    run = own_run()
    stop_at(run, 10)
    edit(package, *changed)
    if named is None:  # other code that gives the same data is said, and no more
        assert run.train() == "finished"
        assert run.history.noticed == ["somebodys/data.py (data.task)"]
        return
    assert run.train() == "interrupted"
    reason = run.history.held
    assert reason.startswith(f"not resumed: {named} changed since the last attempt. Put back what was there")
    assert f"hankelboard run {run.paths.run_id} --accept-changes" in reason
    assert len(attempts(run)) == 1 and run.history.step == 10 and run.status["step"] == 10
    assert run.history.state == run.status["state"] == "stopped"  # as before; nobody's fault
    assert run.train(accept_changes=ADA) == "finished"
    (accepted,) = run.events("changes_accepted")
    assert (accepted["by"], accepted["by_role"], accepted["attempt"]) == ("ada", "account", 2)
    assert named == ", ".join(accepted["changes"]) and not run.history.held
    assert not verify_run(run.paths)


def test_what_was_put_back_is_resumed(own_run, package):
    run = own_run()
    stop_at(run, 10)
    before = (package / "model.py").read_bytes()
    edit(package, "model")
    assert run.train() == "interrupted"
    (package / "model.py").write_bytes(before)
    assert run.train() == "finished" and not run.events("changes_accepted")


def interrupted(run, step):
    """Leave the journal as a killed process leaves it."""
    stop_at(run, step)
    lines = run.paths.events.read_text().splitlines(keepends=True)
    kinds = ("run_stopped", "stop_requested", "command_accepted")
    run.paths.events.write_text("".join(line for line in lines if not any(kind in line for kind in kinds)))
    for file in run.paths.inbox.iterdir():
        file.unlink()


def test_a_refused_run_waits_for_a_person_and_holds_no_worker_up(own_run, package):
    run = own_run()
    interrupted(run, 10)
    edit(package, "model")
    assert run.train() == "interrupted"
    history = run.history
    assert history.state == "interrupted" and history.reason == history.held
    assert not run.events("run_failed")
    assert orphans.needs_nothing(history, []) and not orphans.wants_trainer(read(run), history, [])
    run.send("pause")
    orphans.answer(run.paths, history, asked(run))
    assert run.events("command_refused")[-1]["reason"] == "the run waits for a person; resume it first"
    command = run.send("resume")
    assert orphans.wants_trainer(read(run), run.history, asked(run))
    assert run.train() == "interrupted"
    assert run.history.commands[command].state == "refused"
    assert run.history.commands[command].reason == run.history.held
    command = run.send("resume", accept_changes=True)
    assert run.train() == "finished" and run.history.commands[command].state == "applied"
    (accepted,) = run.events("changes_accepted")
    assert (accepted["by"], accepted["command_id"]) == ("ada", command)


def test_a_refused_run_can_be_ended_for_good(own_run, package):
    run = own_run()
    interrupted(run, 10)
    edit(package, "model")
    assert run.train() == "interrupted"
    run.send("stop")
    orphans.answer(run.paths, run.history, asked(run))
    assert (run.history.state, run.history.held) == ("stopped", "")


def asked(run):
    from hankelboard.trainer.compression.inbox import unanswered

    return list(unanswered(run.paths, run.history))


def read(run):
    from hankelboard.storage.runs import read_run

    return read_run(run.paths)


def test_other_versions_are_said_and_stop_nothing(own_run, monkeypatch):
    run = own_run()
    stop_at(run, 10)
    now = {**attempts(run)[0]["versions"], "torch": "9.9"}
    before = attempts(run)[0]["versions"]["torch"]
    assert set(now) >= {"hankelboard", "python", "torch", "numpy"}
    for module in (loop, resumption):
        monkeypatch.setattr(module, "versions", lambda: now)
    assert run.train() == "finished"
    (noticed,) = run.events("changes_noticed")
    assert noticed["changes"] == run.history.noticed == [f"torch {before} → 9.9"]


def test_verify_names_an_attempt_that_went_on_with_something_else(own_run, package):
    run = own_run()
    stop_at(run, 10)
    edit(package, "model")
    assert run.train(accept_changes=ADA) == "finished"
    lines = run.paths.events.read_text().splitlines(keepends=True)
    run.paths.events.write_text("".join(line for line in lines if "changes_accepted" not in line))
    (finding,) = verify_run(run.paths)
    assert finding.damage and finding.where == "events.jsonl"
    assert finding.what == (
        "attempt 1 went on with other somebodys/model.py (model.family); nobody accepted it"
    )


def test_a_finished_run_whose_code_is_not_to_be_had_stays_finished(own_run, package):
    """The request is refused, with the reason; nothing of what it reached is lost."""
    run = own_run()
    assert run.train() == "finished"
    before, figures = run.history, ("train_s", "best", "step", "state_dims", "waiting_s")
    shown = {key: run.status[key] for key in figures}
    (package / "model.py").unlink()
    forget()
    command = run.send("rollback", checkpoint=str(run.checkpoints("start")[0].name))
    assert run.train() == "failed"
    history = run.history
    assert (history.state, history.step, history.finished) == ("finished", 12, before.finished)
    assert {key: run.status[key] for key in figures} == shown and run.status["state"] == "finished"
    assert history.commands[command].state == "refused"
    assert "the run stays finished, it cannot be gone on with here: model.family" in (
        history.commands[command].reason
    )
    assert not run.events("run_failed")


def test_a_finished_run_whose_settings_are_refused_stays_finished(small_run):
    run = small_run(training={"steps": 5}, reduction={"steps": []})
    assert run.train() == "finished"
    command = run.send("rollback", checkpoint=str(run.checkpoints("start")[0].name))
    text = run.paths.run_json.read_text()
    run.paths.run_json.write_text(text.replace('"batch":16', '"batch":0'))
    assert run.train() == "failed"
    assert run.history.state == "finished" and run.history.commands[command].state == "refused"


def test_a_run_that_cannot_go_on_fails_where_it_stood(own_run, package):
    run = own_run()
    stop_at(run, 10)
    (package / "model.py").unlink()
    forget()
    assert run.train() == "failed"
    assert (run.history.step, run.status["step"]) == (10, 10)


def surroundings():
    blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    return torch.get_num_threads(), blas, generators.states()


@pytest.mark.parametrize("breaks", [False, True])
def test_a_session_of_python_is_afterwards_as_before(own_run, package, monkeypatch, breaks):
    import signal

    if breaks:
        edit(package, "noise", "1.0 +", "1.0 / 0 +")
    listening = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = surroundings()
        assert own_run().train() == ("failed" if breaks else "finished")
        assert surroundings() == before
    finally:
        torch.set_num_threads(threads)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    assert [signal.getsignal(number) for number in numbers] == listening


def test_an_acceptance_is_part_of_the_command(small_run):
    run = small_run()
    command = run.send("resume", accept_changes=True)
    assert commands.read_command(run.paths, command).accept_changes
    assert not commands.read_command(run.paths, run.send("resume")).accept_changes


def test_the_journal_reads_as_written(own_run):
    run = own_run()
    stop_at(run, 10)
    (started,) = [event for event in read_journal(run.paths.events)[0] if event["kind"] == "attempt_started"]
    sources = started["fingerprints"]["sources"]
    assert list(sources["model.family"]) == [
        f"somebodys/{name}.py" for name in ("__init__", "model", "noise")
    ]
    assert list(sources["data.task"]) == ["somebodys/__init__.py", "somebodys/data.py"]
