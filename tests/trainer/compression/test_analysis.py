"""Systems kept while training, and `hankelboard analyse` on them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from hankelboard.settings.config import parse
from hankelboard.settings.families import FAMILIES
from hankelboard.storage.systems import latest_analysis, systems_on_path
from hankelboard.trainer.compression import systems
from hankelboard.trainer.compression.analysis import AnalysisRefused, analyse, knee
from hankelboard.trainer.layers.families import make_mixer
from hankelboard.trainer.reduction.linear.hankel import DiagonalSystem, hankel_singular_values
from hankelboard.trainer.reduction.surgery import reducible_layers
from tests.trainer.small_run import SmallRun


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    run = SmallRun(tmp_path_factory.mktemp("runs"), reduction={"policy": "keep"})
    run.train()
    return run


def test_a_snapshot_is_what_the_layer_is():
    rng = np.random.default_rng(0)
    logarithms = -(10.0 ** rng.uniform(-9, 0, 5)) + 1j * rng.uniform(0, 6, 5)  # |λ| up to 1 - 1e-9
    B = (rng.standard_normal((5, 3)) + 1j * rng.standard_normal((5, 3))).astype(np.complex64)
    system = DiagonalSystem(np.exp(logarithms), B, B.T, logarithms)
    (back,) = systems.decode(systems.encode([system]))
    assert (back.logarithms == logarithms).all() and (back.B == B).all() and (back.C == B.T).all()
    with pytest.raises(ValueError, match="no systems"):
        systems.decode(b"nothing of the kind")


def test_a_run_keeps_its_systems_at_the_steps_that_it_says(uncut):
    steps = [name.step for name in systems_on_path(uncut.paths, uncut.history)]
    assert steps == sorted({round(fraction * 60) for fraction in systems.FRACTIONS})
    snapshots, before_cut = systems.read_comparable(uncut.paths, uncut.history)
    weights = load_file(uncut.paths.checkpoint(uncut.checkpoints()[-1].name) / "model.safetensors")
    last = snapshots[-1].systems[0]
    modulus = np.exp(-np.exp(weights["blocks.0.mixer.nu_log"].astype(np.float64)))
    np.testing.assert_allclose(np.abs(last.eigenvalues), modulus, rtol=1e-12)
    assert before_cut == 0


def test_training_is_the_same_with_and_without(tmp_path, uncut):
    other = SmallRun(tmp_path, reduction={"policy": "keep"}, output={"systems": False})
    other.train()
    assert other.live_path() == uncut.live_path() and not other.paths.systems.exists()
    with pytest.raises(AnalysisRefused, match=r"output\.systems"):
        analyse(other.paths)


@pytest.mark.parametrize("family", ["mamba", "s4d"])
def test_a_family_without_linear_systems_is_told_that_there_is_nothing_to_analyse(small_run, family):
    words = rf"only linear time-invariant layers \(lru, s5\).* of family {family} there is nothing to analyse"
    with pytest.raises(AnalysisRefused, match=words):
        analyse(small_run(model={"family": family}).paths)


def test_a_run_without_steps_is_told_how_much_is_missing(small_run):
    with pytest.raises(AnalysisRefused, match=r"0 snapshots .* at least 2 are needed"):
        analyse(small_run().paths)


def test_families_with_linear_systems_are_those_whose_layers_can_tell_them():
    mixers = {family: make_mixer(parse({"model": {"family": family}}), 0, 4) for family in FAMILIES}
    can = {
        family
        for family, mixer in mixers.items()
        if all(layer.offers("realisation") for _, layer in reducible_layers(mixer))
    }
    assert can == {family for family, row in FAMILIES.items() if row.systems}


def test_the_analysis_of_a_run(uncut):
    told = []
    record = analyse(uncut.paths, lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] and not record["provisional"] and record["until_step"] == 60
    last = systems.read_comparable(uncut.paths, uncut.history)[0][-1]
    for layer in record["layers"]:
        system = last.systems[layer["layer"]]
        hsv = hankel_singular_values(system.eigenvalues, system.B, system.C)
        for row in layer["regret"]:
            assert hsv[row["rank"] :].sum() <= row["tolerance"] * hsv.sum() * (1 + 1e-9)
            assert len(row["regret"]) == len(layer["steps"]) and row["regret"][-1] == pytest.approx(
                0, abs=1e-9
            )
            assert all(0.0 <= value <= 1.0 for value in (*row["regret"], *row["random"]))
            assert len(row["cut_regret"]) == len(layer["steps"])
            assert row["cut_regret"][-1] == pytest.approx(0, abs=1e-9) and min(row["cut_regret"]) >= 0.0
            assert row["regret"][0] < np.mean(row["random"]) or row["rank"] == 12
            assert row["knee"] == knee(layer["steps"], row["cut_regret"], row["tolerance"])
        for pair in layer["between"]:
            assert all(0.0 <= pair[key] <= 1.0 for key in ("overlap", "overlap_start", "overlap_random"))
            assert pair["drift"] <= pair["weyl"] * (1 + 1e-6)  # Weyl's bound holds
            assert pair["order"] is None or -1.0 <= pair["order"] <= 1.0
        first = layer["between"][0]
        assert (first["overlap_start"], first["order_start"]) == (first["overlap"], first["order"])


def test_after_a_cut_only_what_lies_in_the_same_coordinates_is_compared(tmp_path):
    run = SmallRun(tmp_path)
    run.train()
    record = analyse(run.paths)
    last_cut = run.events("reduction_applied")[-1]
    assert record["left_out_before_cut"] > 0
    assert [layer["state_dim"] for layer in record["layers"]] == last_cut["to"]
    assert record["layers"][0]["steps"][0] == last_cut["step"]


def test_a_damaged_snapshot_is_left_out(tmp_path):
    run = SmallRun(tmp_path, reduction={"policy": "keep"})
    run.train()
    names = systems_on_path(run.paths, run.history)
    run.paths.system(names[3]).write_bytes(b"torn")
    steps = analyse(run.paths)["layers"][0]["steps"]
    assert names[3].step not in steps and len(steps) == len(names) - 1


def test_the_command_keeps_and_prints_it(uncut):
    arguments = ["analyse", uncut.paths.run_id, "--runs-dir", str(uncut.paths.root.parent), "--json"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "hankelboard", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert latest_analysis(uncut.paths)["layers"] == json.loads(done.stdout)["layers"]
    assert done.stderr.splitlines()[-1].split("/")[0] == done.stderr.splitlines()[-1].split("/")[1]
