"""Every page on every kind of run: it opens, says what matters, and acts only when confirmed."""

import json
import re
import shlex
import sys

import pytest

from hankelboard.app import pages
from hankelboard.app.words import labels
from hankelboard.storage import commands, proposals
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import list_runs, read_run
from hankelboard.trainer.cli import main
from tests.app.conftest import MAIN, SyntheticRun, of_choice, showcase, text_of, with_history

ALL = [page.name for page in pages.PAGES]
ONE_RUN = [page.name for page in pages.of_one_run()]


def test_each_view_has_its_row_in_the_registry():
    files = {f"views/{path.name}" for path in (MAIN.parent / "views").glob("[!_]*.py")}
    without = files ^ {page.path for page in pages.PAGES}
    assert not without, f"{', '.join(without)}: a file in app/views/ and a row in app/pages.py make a page"
    assert len({page.name for page in pages.PAGES}) == len(pages.PAGES)
    assert [page.name for page in pages.PAGES if page.default] == ["runs"]


@pytest.mark.parametrize("page", ONE_RUN)
def test_a_page_of_one_run_links_to_the_others(open_page, runs, page):
    links = [link.proto.label for link in open_page(page, run=SyntheticRun(runs).id).get("page_link")]
    titles = [other.title for other in pages.of_one_run() if other.name != page]
    assert links[: len(titles)] == titles


@pytest.mark.parametrize("page", ALL)
def test_an_empty_folder(open_page, page):
    open_page(page)


def test_the_list_says_who_waits_and_what_is_broken(open_page, runs):
    waiting = showcase(runs)
    page = open_page("runs")
    told = text_of(page)
    assert "Digits, cut while it trains" in told and "Proposal 2" in told
    table = page.dataframe[0].value
    assert len(table) == 7
    assert table.astype(str).to_string().count("unreadable") == 1
    assert waiting.id


@pytest.mark.parametrize("page", ONE_RUN)
def test_all_kinds_of_runs_open_on_all_pages(open_page, runs, page):
    showcase(runs)
    for paths in runs.iterdir():
        if not paths.name.startswith("."):
            assert text_of(open_page(page, run=paths.name))


def test_the_run_page_shows_the_cut_the_rollback_and_what_waits(open_page, runs):
    run = with_history(runs)
    told = text_of(open_page("run", run=run.id))
    assert "States per layer, N" in told and "64, 64" in told
    assert "Rolled back to step 200 by ada" in told
    assert "Proposal 2" in told and "training waits for you" in told


def test_a_damaged_journal_is_counted_and_the_rest_is_shown(open_page, runs):
    showcase(runs)
    torn = next(path.name for path in runs.iterdir() if "torn" in path.name)
    told = text_of(open_page("run", run=torn))
    assert "metrics.jsonl: 1 damaged line: line" in told
    assert "<b>Torn</b>" in told  # letter by letter: what `text_of` took away are the escapes
    assert any("\\<b\\>" in title.value for title in open_page("run", run=torn).title)
    assert "metrics.jsonl: 1 damaged line: line" in open_page("system").dataframe[0].value.to_string()


@pytest.mark.parametrize("wanted", ["../../etc", "no-such-run", "A B", "x" * 500, "<script>"])
def test_a_run_that_is_none_is_a_message(open_page, runs, wanted):
    SyntheticRun(runs).start()
    page = open_page("run", run=wanted)
    assert "There is no run" in text_of(page)
    assert not page.metric


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.unlink(), "was the run copied completely?"),
        (lambda path: path.write_text("{"), "run.json is missing or damaged"),
        (lambda path: path.write_text('{"format_version": 99}'), "written by a newer Hankelboard (format 99"),
        (lambda path: path.write_text('{"config": {}, "tags": "x"}'), "tags: must be a list of texts"),
        (lambda path: path.write_text('{"config": {"training": []}}'), "config.training: must be an object"),
    ],
)
def test_a_run_that_cannot_be_read_says_why(open_page, runs, change, words):
    run = SyntheticRun(runs).start()
    change(run.paths.run_json)
    for page in ONE_RUN:
        assert words in text_of(open_page(page, run=run.id))


# Deciding.


@pytest.fixture
def waiting(runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    run.propose()
    return run


def test_nothing_is_decided_before_the_confirmation(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    page.button(key="approve").click().run()
    assert "pinned checkpoint" in text_of(page) and "64 → " in text_of(page)
    assert not list(waiting.paths.decisions.iterdir())
    page.text_area(key="reason").set_value("flat tail")
    page.button(key="confirm").click().run()
    decision = proposals.read_decision(waiting.paths, 1)
    assert (decision.verdict, decision.by, decision.via) == ("approve", "ada", "browser")
    assert (decision.ranks, decision.reason) == (None, "flat tail")


def test_ranks_of_ones_own(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    assert page.button(key="approve_mine").disabled
    of_choice(page, "rank_0").set_value(20).run()
    assert not page.button(key="approve_mine").disabled
    page.button(key="approve_mine").click().run()
    page.button(key="confirm").click().run()
    assert proposals.read_decision(waiting.paths, 1).ranks[0] == 20


def test_a_second_decision_is_told_who_and_when(open_page, waiting):
    page = open_page("truncation", run=waiting.id)
    page.button(key="reject").click().run()
    proposals.decide(waiting.paths, 1, "approve", by="grace", via="command line")
    page.button(key="confirm").click().run()
    assert "proposal 1 was already approved by grace at 20" in page.session_state["decision_error"]
    assert proposals.read_decision(waiting.paths, 1).by == "grace"


def test_what_is_decided_is_closed_with_the_reason(open_page, waiting):
    waiting.decide(1, by="grace", reason="looks fine")
    told = text_of(page := open_page("truncation", run=waiting.id))
    assert "approved by grace" in told and "looks fine" in told and "has not answered yet" in told
    assert page.button(key="approve").disabled and page.button(key="reject").disabled
    waiting.answer(1)
    assert "applied at step" in text_of(open_page("truncation", run=waiting.id))


def test_a_proposal_with_a_damaged_file_does_not_take_the_page_down(open_page, waiting):
    waiting.paths.proposal(1).write_text('{"layers": [{"state_dim": 3}]}')
    assert "cannot be read" in text_of(open_page("truncation", run=waiting.id))


def test_the_badge_and_the_deadline_are_said(open_page, waiting):
    record = json.loads(waiting.paths.proposal(1).read_text())
    record["badge"] = {"color": "amber", "reasons": ["layer 0: its output changes by **20%**"]}
    record["deadline"] = {"s": 600, "steps": 0, "default": "reject"}
    waiting.paths.proposal(1).write_text(json.dumps(record))
    told = text_of(open_page("truncation", run=waiting.id))
    assert "look twice" in told and "its output changes by **20%**" in told
    assert "If nobody decides within 10 min 00 s, it is rejected" in told


def test_what_cuts_saved_stands_on_the_run_and_in_the_list_once_there_was_a_cut(open_page, waiting):
    assert "Saved by cuts" not in text_of(open_page("run", run=waiting.id))
    record = proposals.read_proposal(waiting.paths, 1)
    waiting.apply(1, record, record["ranks"])
    before = waiting.train_s
    waiting.train(1000)
    saved = labels.duration((waiting.train_s - before) / 2)  # steps took 1.5 times as long
    on_run, on_runs = (text_of(open_page(name, run=waiting.id)) for name in ("run", "runs"))
    assert "Saved by cuts" in on_run and f"{saved} (" in on_run and "to come" in on_run
    assert f"saved {saved} (" in on_runs and "against uncut so far" in on_runs and "more to come" in on_runs


# Commands.


def sent(run):
    paths = run_paths(run.paths.root.parent, run.id)
    return [commands.read_command(paths, command_id) for command_id in commands.command_ids(paths)]


def test_buttons_send_commands_and_show_the_answers(open_page, waiting):
    page = open_page("run", run=waiting.id)
    page.button(key="pause").click().run()
    assert [(command.kind, command.by) for command in sent(waiting)] == [("pause", "ada")]
    assert "requested, no answer from the trainer yet" in text_of(page)
    waiting.answer_commands()
    assert "applied" in text_of(open_page("run", run=waiting.id))


def test_rollback_asks_first(open_page, waiting):
    page = open_page("checkpoints", run=waiting.id)
    page.button(key="rollback").click().run()
    assert not sent(waiting)
    page.button(key="confirm_rollback").click().run()
    command = sent(waiting)[0]
    assert (command.kind, command.policy) == ("rollback", "ask") and command.checkpoint.startswith("b0-")


def test_buttons_of_an_ended_run_are_closed_with_the_reason(open_page, runs):
    run = SyntheticRun(runs).start()
    run.train(100)
    run.finish()
    page = open_page("run", run=run.id)
    assert page.button(key="pause").disabled and page.button(key="stop").disabled
    assert "roll back to a checkpoint" in page.button(key="resume").help


def test_the_form_makes_the_run_that_its_command_line_says(open_page, runs):
    page = open_page("new_run")
    page.text_input(key="name-digits-lru").set_value("Mine").run()
    page.text_input(key="training.steps-digits-lru").set_value("300").run()
    page.text_input(key="model.state_dim-digits-lru").set_value("[8, 9]").run()
    typed = shlex.split(page.code[0].value)
    assert typed[:4] == ["hankelboard", "new", "--preset", "digits-lru"]
    page.button(key="create").click().run()
    assert not page.exception and main(typed[1:]) == 0
    first, second = (
        {**vars(read_run(paths)), "id": "", "created": "", "by_role": ""} for paths in list_runs(runs)
    )
    assert first == second and first["config"]["training"]["steps"] == 300
    assert first["name"] == "Mine" and first["config"]["model"]["state_dim"] == [8, 9]


@pytest.mark.parametrize(
    ("text", "problem"), [("-3", "must be at least 0"), ("many", "must be a whole number"), ("1e9", "whole")]
)
def test_a_value_outside_its_limits_is_marked_and_not_queued(open_page, text, problem):
    page = open_page("new_run")
    page.text_input(key="training.steps-digits-lru").set_value(text).run()
    assert problem in text_of(page) and page.button(key="create").disabled


def test_what_the_command_line_refuses_is_said_beside_its_field(open_page, runs):
    page = open_page("new_run")
    page.text_input(key="training.steps-digits-lru").set_value("3").run()
    page.text_input(key="reduction.steps-digits-lru").set_value("[5]").run()
    page.button(key="create").click().run()
    assert "5 is beyond 3 steps" in text_of(page) and not list_runs(runs)


def test_ones_own_code_is_named_and_not_imported_by_the_page(open_page, runs, tmp_path, monkeypatch):
    (tmp_path / "no_code_for_pages.py").write_text("raise SystemExit\nclass Model(Module): ...\n")
    monkeypatch.setenv("HANKELBOARD_ALLOW_CODE", "no_code_for_pages")
    monkeypatch.setenv("HANKELBOARD_FOLDER", str(tmp_path))
    page = open_page("new_run")
    page.text_input(key="model.family-digits-lru").set_value("no_code_for_pages:Model").run()
    page.button(key="create").click().run()
    model = read_run(list_runs(runs)[0]).config["model"]
    assert (model["family"], model["path"]) == ("no_code_for_pages:Model", str(tmp_path))
    assert "no_code_for_pages" not in sys.modules


def test_the_glossary_shows_the_documents(open_page):
    page = open_page("glossary")
    assert len(page.expander) == 4 and "Documents" in text_of(page)


def test_no_link_of_a_document_on_the_glossary_leads_nowhere():
    from hankelboard.app.views.glossary import DOCS, DOCUMENTS, LOCAL_LINK

    for name in DOCUMENTS:
        shown = LOCAL_LINK.sub(r"\1", (DOCS / name).read_text(encoding="utf-8"))
        assert all(address.startswith("https://") for address in re.findall(r"\]\(([^)]*)\)", shown)), name
    assert (
        LOCAL_LINK.sub(r"\1", "[the loop](../trainer/x.py), [arXiv](https://a)")
        == "the loop, [arXiv](https://a)"
    )


def test_what_waits_stands_first_in_the_list(open_page, runs):
    waiting = SyntheticRun(runs, "waits").start()
    waiting.train(200)
    waiting.propose()
    SyntheticRun(runs, "newer").start().train(100)
    assert list(open_page("runs").dataframe[0].value["Run"]) == ["waits", "newer"]


def test_a_run_is_renamed_and_archived_by_notes(open_page, runs):
    run = SyntheticRun(runs).start()
    page = open_page("run", run=run.id)
    page.text_input(key="rename").set_value("The **good** one").run()
    page.button(key="archive").click().run()
    assert [note["note"] for note in commands.read_notes(run.paths)] == ["rename", "archive"]
    assert "The **good** one" in text_of(open_page("run", run=run.id))
    assert "No run fits" in text_of(open_page("runs"))


def test_a_long_list_of_runs_comes_in_pages(open_page, runs):
    record = SyntheticRun(runs, "Run").paths.run_json.read_text()
    for number in range(204):
        (runs / f"copy-{number:03d}").mkdir()
        (runs / f"copy-{number:03d}" / "run.json").write_text(record)
    page = open_page("runs")
    assert "205 of 205 runs" in text_of(page) and len(page.dataframe[0].value) == 200
    page.session_state["page_of_2"] = 2
    page.run()
    assert not page.exception and len(page.dataframe[0].value) == 5
