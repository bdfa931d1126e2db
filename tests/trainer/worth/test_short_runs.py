"""Short runs are those of the trainer's own loop, and leave nothing behind."""

import tempfile

from hankelboard.settings.config import parse
from hankelboard.settings.preset import find_preset
from hankelboard.settings.toml import merge
from hankelboard.storage.journal import read_journal
from hankelboard.trainer.data import load_task
from hankelboard.trainer.data.task import batch_indices
from hankelboard.trainer.training import loop
from hankelboard.trainer.worth.short_runs import shortened, train_short
from tests.trainer.small_run import SMALL


def configured(**keys):
    return parse(merge(merge(find_preset("digits-lru").tables, SMALL), keys))


def test_a_short_run_is_the_run_that_training_would_make(small_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    config = configured(model={"state_dim": 12}, reduction={"evidence_samples": 10_000})
    run = small_run(
        model={"state_dim": 3}, training={"steps": 10, "seed": 7}, reduction={"attempts": 0, "steps": []}
    )
    run.train()
    recorded = read_journal(run.paths.metrics)[0][-1]
    capsys.readouterr()
    short = train_short(config, load_task(config.data), divisor=4, seed=7, steps=10)
    assert short.accuracy.mean() == recorded["val/accuracy"]
    assert abs(short.loss.mean() - recorded["val/loss"]) < 1e-6
    assert list((tmp_path / "temporary").iterdir()) == [] and capsys.readouterr().out == ""


def test_the_schedule_ends_with_the_short_run():
    short = shortened(configured(model={"state_dim": [12, 6]}), divisor=4, seed=3, steps=20)
    assert (short.model.state_dim, short.training.steps, short.training.seed) == ([3, 1], 20, 3)
    assert short.reduction.steps == [] and short.reduction.attempts == 0


def test_sizes_of_one_seed_see_the_same_batches(monkeypatch):
    drawn = []

    def noted(*arguments):
        drawn.append(batch_indices(*arguments).tolist())
        return batch_indices(*arguments)

    monkeypatch.setattr(loop, "batch_indices", noted)
    config = configured()
    task = load_task(config.data)
    for divisor in (1, 4):
        train_short(config, task, divisor=divisor, seed=5, steps=3)
    assert drawn[:3] == drawn[3:] and drawn[0] != drawn[1]
