"""Suites: what a file may say, what is created, and that saying it again creates nothing."""

import contextlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from hankelboard.settings.suite import built_in, create_suite, load_suite, parse_suite
from hankelboard.storage.commands import command_ids, read_command
from hankelboard.storage.errors import ConfigError
from hankelboard.storage.layout import RunPaths, run_paths
from hankelboard.storage.runs import list_runs, read_run
from hankelboard.storage.summary import summarise
from hankelboard.trainer.cli import main
from hankelboard.trainer.cli.suites import what_stands_in_the_way
from hankelboard.trainer.compression.failure import give_up

TINY = {
    "preset": "digits-lru",
    "seeds": [0, 1],
    "config": {
        "model": {"width": 8, "state_dim": 12},
        "training": {"steps": 20, "batch": 16, "threads": 1, "evaluate_every": 10},
        "reduction": {"policy": "auto", "steps": [10], "evidence_samples": 64},
        "output": {"tensorboard": False},
    },
    "series": [
        {"name": "full", "role": "baseline", "config": {"reduction": {"steps": [], "attempts": 0}}},
        {"name": "cut", "config": {"reduction": {"tolerance": 0.3}}},
        {
            "name": "scratch", "role": "scratch", "seeds": [1],
            "config": {"model": {"state_dim_as": "cut"}, "reduction": {"steps": [], "attempts": 0}},
        },
    ],
}  # fmt: skip


def runs_in(folder):
    return {read_run(paths).id: read_run(paths) for paths in list_runs(folder)}


def test_runs_are_created_with_their_series_seed_and_needs(tmp_path):
    planned = create_suite(tmp_path, parse_suite("tiny", TINY))
    runs = runs_in(tmp_path)
    made = [(runs[item.run].series, runs[item.run].seed, runs[item.run].role) for item in planned]
    assert made == [
        ("full", 0, "baseline"), ("cut", 0, "compressed"),
        ("full", 1, "baseline"), ("cut", 1, "compressed"), ("scratch", 1, "scratch"),
    ]  # fmt: skip
    by_series = {(run.series, run.seed): run for run in runs.values()}
    scratch = by_series["scratch", 1]
    assert scratch.config["model"]["state_dim_as"] == by_series["cut", 1].id
    assert scratch.config["training"]["seed"] == 1
    assert scratch.group == "tiny"
    assert sorted(runs) == [item.run for item in planned], "the queue is in the order of the suite"


def test_said_again_it_creates_what_is_missing_only(tmp_path):
    suite = parse_suite("tiny", TINY)
    first = create_suite(tmp_path, suite, seeds=[1])
    second = create_suite(tmp_path, suite)
    assert [item.created for item in first] == [True] * 3
    assert sum(item.created for item in second) == 2
    assert not any(item.created for item in create_suite(tmp_path, suite))
    assert len(runs_in(tmp_path)) == 5


def test_a_changed_suite_leaves_old_runs_and_says_so(tmp_path):
    create_suite(tmp_path, parse_suite("tiny", TINY), seeds=[1])
    changed = {**TINY, "config": {**TINY["config"], "training": {**TINY["config"]["training"], "steps": 40}}}
    planned = create_suite(tmp_path, parse_suite("tiny", changed), seeds=[1])
    assert [item.differs for item in planned] == [["training.steps"]] * 3
    assert not any(item.created for item in planned)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"series": []}, "has no"),
        ({"sires": []}, "unknown key sires"),
        ({"series": [{"role": "baseline"}]}, "has no name"),
        ({"series": [{"name": "a"}, {"name": "a"}]}, "two series"),
        ({"series": [{"name": "a", "tolerance": 1}]}, "unknown key tolerance"),
        ({"series": [{"name": "a", "seeds": ["x"]}]}, "seeds"),
        ({"series": [{"name": "a", "preset": "nope"}]}, "unknown preset"),
        ({"series": [{"name": "a", "role": "baselin"}]}, "unknown role 'baselin'; did you mean baseline"),
        ({"series": [{"name": "a", "role": 3}]}, "'a': unknown role 3"),
        ({"series": [{"name": "a", "config": {"start": {"run": "a"}}}]}, "'a' is no series above it"),
        ({"series": [{"name": "a", "config": {"model": {"widht": 1}}}]}, "model.widht"),
        ({"series": [{"name": "a", "config": {"model": {"options": {"heads": 1}}}}]}, "lru has no options"),
        ({"series": [{"name": "a", "config": 3}]}, "series 'a': config = 3: must be a table"),
        ({"series": [{"name": "a", "config": {"start": {"run": "b"}}}]}, "'b' is no series above it"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_named_with_what_is_wrong(change, words):
    with pytest.raises(ConfigError, match=words):
        parse_suite("tiny", {**TINY, **change})


def test_a_seed_that_a_needed_series_lacks_is_refused_before_anything_is_created(tmp_path):
    series = [{**TINY["series"][0], "seeds": [0]}, {"name": "on", "config": {"start": {"run": "full"}}}]
    with pytest.raises(ConfigError, match="'full' has no seed 1"):
        create_suite(tmp_path, parse_suite("tiny", {**TINY, "series": series}))
    assert list_runs(tmp_path) == []


def test_a_seed_that_cannot_be_is_refused_before_anything_is_created(tmp_path):
    with pytest.raises(ConfigError, match=r"training.seed = 4294967296: must be at most"):
        create_suite(tmp_path, parse_suite("tiny", TINY), seeds=[0, 2**32])
    assert list_runs(tmp_path) == []


def test_relative_paths_are_those_of_the_folder_in_which_a_suite_is_created(tmp_path, monkeypatch):
    (tmp_path / "own.txt").write_text("abc")
    monkeypatch.chdir(tmp_path)
    text = {"task": "text", "options": {"file": "own.txt"}}
    series = [
        {"name": "text", "preset": "text-mamba", "config": {"data": text}},
        {
            "name": "own",
            "config": {"model": "tests.trainer.own:TinyModel", "data": "tests.trainer.own:parity"},
        },
    ]
    suite = parse_suite("paths", {"preset": "digits-lru", "seeds": [0], "series": series})
    create_suite(tmp_path / "runs", suite)
    configs = {run.series: run.config for run in runs_in(tmp_path / "runs").values()}
    assert configs["text"]["data"]["options"]["file"] == str(tmp_path / "own.txt")
    assert configs["own"]["model"]["path"] == configs["own"]["data"]["path"] == str(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--seeds", "a"], "'a': must be whole numbers, such as 0,1,2"), (["--jobs", "-1"], "at least 1")],
)
def test_wrong_arguments_of_the_command_create_nothing(tmp_path, capsys, arguments, words):
    with contextlib.suppress(SystemExit):
        main(["suite", "digits-headline", "--runs-dir", str(tmp_path), *arguments])
    assert words in capsys.readouterr().err and list_runs(tmp_path) == []


def test_every_built_in_suite_is_sound():
    assert {"digits-headline", "tones-headline", "smnist-headline", "smnist-wide"} <= set(built_in())
    for name in built_in():
        suite = load_suite(name)
        assert suite.description
        assert [one for one in suite.series if one.role == "baseline"]


def test_an_unknown_suite_is_told_apart_from_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="did you mean digits-headline"):
        load_suite("digits-headlin")
    with pytest.raises(ConfigError, match="No such file"):
        load_suite(str(tmp_path / "none.toml"))


def test_the_command_trains_all_in_the_order_of_their_needs(tmp_path, capfd):
    file = tmp_path / "tiny.toml"
    file.write_text(
        'preset = "digits-lru"\n[config.model]\nwidth = 8\nstate_dim = 12\n'
        "[config.training]\nsteps = 20\nbatch = 16\nthreads = 1\n"
        '[config.reduction]\npolicy = "auto"\nsteps = [10]\ntolerance = 0.3\nevidence_samples = 64\n'
        '[[series]]\nname = "cut"\n'
        '[[series]]\nname = "scratch"\nrole = "scratch"\nconfig.model.state_dim_as = "cut"\n'
        "config.reduction = { steps = [], attempts = 0 }\n"
    )
    runs = str(tmp_path / "runs")
    assert main(["suite", str(file), "--runs-dir", runs, "--jobs", "2", "--seeds", "3", "--json"]) == 0
    printed = capfd.readouterr().out
    rows = json.loads(printed[printed.index("[\n") :])
    assert [(row["series"], row["seed"], row["state"]) for row in rows] == [
        ("cut", 3, "finished"), ("scratch", 3, "finished"),
    ]  # fmt: skip
    assert "waits for the final state dimensions" in printed


@pytest.mark.parametrize("left", ["nothing", "what its trainer wrote afterwards"])
def test_runs_that_wait_for_a_removed_run_are_created_anew(tmp_path, left):
    suite = parse_suite("tiny", TINY)
    first = {item.series.name: item.run for item in create_suite(tmp_path, suite, seeds=[1])}
    shutil.rmtree(tmp_path / first["cut"])
    if left != "nothing":
        (tmp_path / first["cut"] / "systems").mkdir(parents=True)
    second = {item.series.name: item for item in create_suite(tmp_path, suite, seeds=[1], by="ada")}
    assert [name for name, item in second.items() if item.created] == ["cut", "scratch"]
    assert not any(item.differs for item in second.values())
    shutil.rmtree(tmp_path / first["cut"], ignore_errors=True)
    runs = runs_in(tmp_path)
    assert runs[second["scratch"].run].config["model"]["state_dim_as"] == second["cut"].run
    stranded = run_paths(tmp_path, first["scratch"])
    assert summarise(stranded).archived
    assert [read_command(stranded, command).kind for command in command_ids(stranded)] == ["stop"]
    assert not any(item.created for item in create_suite(tmp_path, suite, seeds=[1]))
    assert len(list_runs(tmp_path)) == 4, "put away once, not again and again"


def test_a_run_of_a_newer_format_is_waited_for_and_not_created_anew(tmp_path):
    suite = parse_suite("tiny", TINY)
    first = {item.series.name: item.run for item in create_suite(tmp_path, suite, seeds=[1])}
    newer = run_paths(tmp_path, first["cut"]).run_json
    newer.write_text(json.dumps(json.loads(newer.read_text()) | {"format_version": 99}))
    again = {item.series.name: item for item in create_suite(tmp_path, suite, seeds=[1])}
    assert again["scratch"].run == first["scratch"] and not again["scratch"].created


def test_a_seed_given_twice_is_one_run(tmp_path):
    suite = parse_suite("tiny", {**TINY, "seeds": [1, 1], "series": TINY["series"][:2]})
    assert [(item.series.name, item.seed) for item in create_suite(tmp_path, suite)] == [
        ("full", 1),
        ("cut", 1),
    ]
    assert not any(item.created for item in create_suite(tmp_path, suite, seeds=[1, 1]))


def test_what_a_suite_waits_for_in_vain_is_said_with_what_helps(tmp_path, capsys):
    file = tmp_path / "two.toml"
    file.write_text(
        'preset = "digits-lru"\n[[series]]\nname = "full"\nrole = "baseline"\n'
        '[[series]]\nname = "pupil"\nrole = "distilled"\nconfig.distillation.teacher = "full"\n'
    )
    runs = tmp_path / "runs"
    assert main(["suite", str(file), "--runs-dir", str(runs)]) == 0
    assert "resume" not in capsys.readouterr().out
    full = next(paths for paths in list_runs(runs) if read_run(paths).series == "full")
    give_up(full, "no data")
    assert main(["suite", str(file), "--runs-dir", str(runs)]) == 0
    said = capsys.readouterr().out
    assert f"{full.run_id} is failed: no data; `hankelboard send {full.run_id} resume`" in said
    assert main(["suite", str(file), "--runs-dir", str(runs), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert f"is queued: waits for the predictions of {full.run_id}, which is failed" in said


def test_a_run_that_is_removed_while_it_trains_is_said_to_be_gone(tmp_path):
    gone = RunPaths(tmp_path / "20261127-000000-gone-abcd")
    (line,) = what_stands_in_the_way([summarise(gone)], trained=True)
    assert gone.run_id in line and "creates the run anew" in line


def test_four_who_ask_at_once_queue_every_run_once(tmp_path):
    suite = parse_suite("tiny", TINY)
    with ThreadPoolExecutor(4) as several:
        asked = [several.submit(create_suite, tmp_path, suite) for _ in range(4)]
    made = [{item.run for item in one.result()} for one in asked]
    assert made == [set(runs_in(tmp_path))] * 4 and len(made[0]) == 5
    assert sum(item.created for one in asked for item in one.result()) == 5


def test_the_queue_is_in_the_order_of_the_suite_whatever_the_group_is_called(tmp_path):
    planned = create_suite(tmp_path, parse_suite("tiny", TINY), group="a group with a very long name " * 2)
    assert [item.run for item in planned] == sorted(item.run for item in planned)
