"""Energy, from counters that are written by hand: this machine may have none."""

import pytest
import torch

from hankelboard.trainer.compression import energy
from hankelboard.trainer.compression.energy import EnergyMeter, counters_of
from hankelboard.trainer.compression.loop_state import LoopState

CPU = torch.device("cpu")


def test_where_nothing_can_be_read_there_is_no_energy(tmp_path):
    state = LoopState(train_s=1.0)
    meter = EnergyMeter(counters_of(CPU, tmp_path / "absent"))
    meter.note(state)
    meter.note(state)
    assert state.energy_j is None


def test_packages_count_once_and_their_parts_not_again(tmp_path):
    for name, joules in (("intel-rapl:0", 5), ("intel-rapl:0:0", 3), ("intel-rapl:1", 7)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{joules}000000\n")
    (tmp_path / "intel-rapl:2").mkdir()
    (tmp_path / "intel-rapl:2" / "energy_uj").mkdir()  # cannot be read
    assert [counter() for counter in counters_of(CPU, tmp_path)] == [5.0, 7.0]


def test_the_share_of_the_time_that_was_training_counts_and_no_rollback(monkeypatch):
    clock, joules, state = [0.0], [100.0], LoopState()
    monkeypatch.setattr(energy.time, "monotonic", lambda: clock[0])
    meter = EnergyMeter([lambda: joules[0]])
    for clock[0], joules[0], state.train_s, expected in (
        (0.0, 100.0, 0.0, None),
        (10.0, 200.0, 5.0, 50.0),  # the other half it waited
        (20.0, 300.0, 2.0, 50.0),  # a rollback between
        (30.0, 10.0, 9.0, 50.0),  # the counter began anew
        (40.0, 20.0, 19.0, 60.0),
    ):
        meter.note(state)
        assert state.energy_j == (expected and pytest.approx(expected))
