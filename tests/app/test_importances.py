"""What a tolerance is a share of is told by its name; bounds are spoken of only where there are some."""

import pytest

from hankelboard.settings.families import importance_of, importances
from tests.app.conftest import SyntheticRun, of_choice, text_of

IMPORTANCES = importances()
OTHERS = [name for name in IMPORTANCES if name != "hsv"]


def waiting(folder, importance="hsv", **fields):
    run = SyntheticRun(folder, importance=importance, **fields).start()
    run.train(200)
    run.propose()
    run.status("waiting_for_decision")
    return run


def everything(page):
    """What is read, and the labels of sliders."""
    return text_of(page) + "\n".join(str(slider.label) for slider in page.select_slider)


@pytest.mark.parametrize("name", [*IMPORTANCES, "loss_change"])
def test_a_proposal_names_what_its_shares_are_of(open_page, runs, name):
    run = waiting(runs, name)
    page = open_page("truncation", run=run.id)
    told = everything(page)
    words = importance_of(name)
    assert f"each layer may lose at most this share of {words.total}" in told
    assert f"share that each layer may lose of {words.total}" in told
    assert f"Discards 4.94 % of {words.total}" in told
    others = {one.short for one in IMPORTANCES.values()} - {words.short}
    rest = told.replace(words.short, "")  # Σσ² begins like Σσ
    assert not [short for short in others if f"of {short}" in rest]


@pytest.mark.parametrize("name", OTHERS)
def test_without_a_bound_none_is_spoken_of(open_page, runs, name):
    run = waiting(runs, name)
    page = open_page("truncation", run=run.id)
    of_choice(page, "rule").set_value("budget for all layers").run()
    told = everything(page)
    assert "bound" not in told and "Σσ," not in told and "sum of what all layers discard" in told


def test_with_a_bound_it_is_shown(open_page, runs):
    assert "error bound" in everything(open_page("truncation", run=waiting(runs).id))


def test_the_confirmation_names_it_too(open_page, runs):
    page = open_page("truncation", run=waiting(runs, "hsv_squared").id)
    page.button(key="approve").click().run()
    assert "% of Σσ²" in text_of(page)


def test_spectra_say_when_cuts_go_by_something_else(open_page, runs):
    other = waiting(runs, "output_energy")
    assert "Cuts of this model go by the output energy" in text_of(open_page("spectra", run=other.id))
    for name in ("hsv", "hsv_squared"):
        told = text_of(open_page("spectra", run=waiting(runs, name).id))
        assert "Cuts of this model go by" not in told
        assert IMPORTANCES[name].meaning.split(".")[0] in told
        assert f"discard this share of {IMPORTANCES[name].short}." in told


def test_a_tolerance_that_layers_share_is_told_as_an_average(open_page, runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    run.propose(allocation="global")
    assert "on average a layer may lose" in text_of(open_page("truncation", run=run.id))


def test_what_the_trainer_notes_of_a_kind_of_layer_is_told_once(open_page, runs):
    run = SyntheticRun(runs, family="s4d").start()
    run.train(200)
    note = "Every channel is a system of its own: expect modest gains."
    layers = [{**layer, "note": note} for layer in run.evidence()["layers"]]
    run.propose(layers=layers)
    assert text_of(open_page("truncation", run=run.id)).count(note) == 1


def test_the_glossary_explains_every_importance(open_page):
    told = text_of(open_page("glossary"))
    assert all(one.meaning in told for name, one in IMPORTANCES.items() if name != "hsv")
