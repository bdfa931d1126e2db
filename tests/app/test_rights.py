"""What a page offers to whom, and that nothing is written by who may not: whatever was drawn before."""

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest
import streamlit as st

from hankelboard.access import sessions, tokens
from hankelboard.access.roles import SIGNED_OUT, Role
from hankelboard.app import pages
from hankelboard.app.data import analyses, command_line, visitors, worth
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.app.panels import rights
from hankelboard.settings.new_run import NewRun
from hankelboard.storage.commands import command_ids, read_command, read_notes
from hankelboard.storage.proposals import read_decision
from hankelboard.storage.runs import list_runs, read_run
from tests.app.conftest import SyntheticRun, of_choice, text_of


@dataclass(frozen=True)
class Control:
    """Something to click or fill in that acts."""

    page: str
    key: str
    steps: tuple[str, ...] = ()
    """Buttons to click before, which only ask."""
    value: Any = None
    """What to fill in; None is a click."""
    query: tuple[tuple[str, str], ...] = ()

    def prepare(self, page):
        if self.key == "measure_mine":
            of_choice(page, "rank_0").set_value(20).run()
        if self.key == "policy":
            page.segmented_control(key="new_policy").set_value("auto").run()
        if self.key == "kill":
            page.checkbox(key="kill_sure").check().run()
        for step in self.steps:
            page.button(key=step).click().run()

    def act(self, page):
        if self.value is None:
            page.button(key=self.key).click().run()
        else:
            page.text_input(key=self.key).set_value(self.value).run()

    @property
    def first(self):
        """The key that a page draws at once."""
        return self.steps[0] if self.steps else self.key


OF_THE_RUN = ("pause", "policy", "kill", "archive")
SISTERS = {"resume", "checkpoint", "stop", "stop_later", "approve_mine", "measure_rest"}
"""Controls with the callback of another one in the table."""
CONTROLS = [
    *(Control("run", key) for key in OF_THE_RUN),
    Control("run", "rename", value="Other"),
    Control("run", "tags", value="good, old"),
    *(Control("truncation", "confirm", (key,)) for key in ("approve", "reject")),
    Control("truncation", "measure_mine"),
    Control("checkpoints", "confirm_rollback", ("rollback",)),
    Control("spectra", "analyse"),
    Control("new_run", "create"),
    Control("new_run", "worth"),
    Control("new_run", "create_suite", query=(("kind", "A suite"), ("suite", "smnist-wide"))),
]  # fmt: skip
IDS = [f"{control.page} {control.first}" for control in CONTROLS]
OF_PAGES = pytest.mark.parametrize("name", ["run", "truncation", "checkpoints", "spectra", "new_run"])


@pytest.fixture
def waiting(runs):
    run = SyntheticRun(runs).start()
    run.train(200)
    run.propose()
    run.paths.systems.mkdir(exist_ok=True)
    return run


@pytest.fixture
def sign_in(monkeypatch):
    """Signs bob in by a token of his own, with a cookie as a browser has it."""
    cookies = {}
    monkeypatch.setattr(type(st.context), "cookies", property(lambda self: cookies))
    monkeypatch.setattr(type(st.context), "headers", property(lambda self: {}))
    monkeypatch.delenv("HANKELBOARD_NO_TOKEN")

    def sign_in(role):
        token = tokens.owner_token() if role == Role.OWNER else tokens.create("bob", role)
        cookies[visitors.cookie_name()] = sessions.begin(token)

    return sign_in


@pytest.fixture
def written(runs, monkeypatch):
    """All that was written so far: the files below the folder of runs, and processes that were started."""
    started = []

    class Process:
        stderr = ()
        pid = 2**30  # of no process

        def __init__(self, command, **_):
            started.append(command)
            self.stdout = io.StringIO('{"words": ["Cannot tell"]}')

        def poll(self):
            return 0

        def wait(self):
            return 0

    monkeypatch.setattr(analyses.subprocess, "Popen", Process)
    monkeypatch.setattr(analyses, "_jobs", {})
    monkeypatch.setattr(worth, "_jobs", [])
    return lambda: (sorted(map(str, runs.rglob("*"))), list(started))


def opened(open_page, control, run):
    of_run = {} if control.page == "new_run" else {"run": run.id}
    page = open_page(control.page, **of_run, **dict(control.query))
    control.prepare(page)
    return page


def drawn(page):
    return {widget.key for kind in ("button", "text_input") for widget in getattr(page, kind)}


@pytest.mark.parametrize("control", CONTROLS[::3], ids=IDS[::3])
def test_an_operator_acts(open_page, waiting, sign_in, written, control):
    sign_in(Role.OPERATOR)
    page, before = opened(open_page, control, waiting), written()
    control.act(page)
    assert written() != before and not page.exception
    assert SIGNED_OUT not in text_of(page)


@pytest.mark.parametrize("control", CONTROLS, ids=IDS)
def test_a_token_that_was_revoked_acts_nowhere_in_tabs_that_are_open(
    open_page, waiting, sign_in, written, control
):
    sign_in(Role.OPERATOR)
    page, before = opened(open_page, control, waiting), written()
    tokens.revoke("bob")
    control.act(page)
    assert written() == before and not page.exception
    assert text_of(page).count(SIGNED_OUT) == 1 and not page.button and not page.title


@pytest.mark.parametrize("control", CONTROLS[1::3], ids=IDS[1::3])
def test_who_became_a_viewer_since_the_page_was_drawn_is_told_so(
    open_page, waiting, sign_in, written, monkeypatch, control
):
    sign_in(Role.OPERATOR)
    page, before = opened(open_page, control, waiting), written()
    monkeypatch.setenv("HANKELBOARD_READ_ONLY", "1")
    control.act(page)
    assert written() == before and not page.exception
    assert "bob is viewer here, who may not" in f"{text_of(page)}{page.session_state}"


@OF_PAGES
@pytest.mark.parametrize("read_only", [False, True], ids=["viewer", "read-only"])
def test_who_may_only_look_is_offered_nothing_and_told_why_once(
    open_page, waiting, sign_in, monkeypatch, name, read_only
):
    if read_only:
        monkeypatch.setenv("HANKELBOARD_READ_ONLY", "1")
    sign_in(Role.OWNER if read_only else Role.VIEWER)
    for query in {control.query for control in CONTROLS if control.page == name}:
        page = open_page(name, **dict(query), **({} if name == "new_run" else {"run": waiting.id}))
        assert not drawn(page) & ({control.first for control in CONTROLS} | SISTERS)
        sentence = rights.READ_ONLY if read_only else "You are bob, a viewer"
        assert text_of(page).count(sentence) == 1
    assert not page.get("popover") or "More" not in str(page.get("popover"))


@pytest.mark.parametrize("name", [page.name for page in pages.PAGES])
def test_nobody_sees_nothing(open_page, waiting, sign_in, name):
    page = open_page(name)
    assert text_of(page).count(SIGNED_OUT) == 1
    assert not page.title and not page.button and not page.metric and not page.dataframe


def test_records_say_who_and_in_which_role(open_page, waiting, sign_in):
    sign_in(Role.OPERATOR)
    page = open_page("run", run=waiting.id)
    page.text_input(key="tags").set_value("good").run()
    page.button(key="pause").click().run()
    assert "(bob, operator, " in text_of(page)
    page = open_page("truncation", run=waiting.id)
    page.button(key="reject").click().run()
    assert "Decided as bob, operator." in text_of(page)
    page.button(key="confirm").click().run()
    decision = read_decision(waiting.paths, 1)
    command = read_command(waiting.paths, command_ids(waiting.paths)[0])
    note = read_notes(waiting.paths)[0]
    assert (decision.by, decision.by_role) == (command.by, command.by_role) == ("bob", "operator")
    assert (note["by"], note["by_role"]) == ("bob", "operator")
    assert "rejected by bob, operator" in text_of(open_page("truncation", run=waiting.id))


def test_records_from_before_have_no_role(open_page, waiting):
    record = {"decision_id": "x", "proposal": 1, "verdict": "reject", "ranks": None, "by": "ada",
              "via": "browser", "t": "2026-11-23T18:14:30.934Z", "reason": ""}  # fmt: skip
    waiting.paths.decision(1).write_text(json.dumps(record))
    assert read_decision(waiting.paths, 1).by_role == ""
    assert "rejected by ada, 23" in text_of(open_page("truncation", run=waiting.id)).replace("2026-11-", "")


# Own code is the owner's.

OWN = {
    "data.task": ("data.task=os:system",),
    "model.family": ("model.family=my.models:Net",),
    "model.path": ("model.path=/etc",),
    "data.path": ("data.path=/etc",),
    "data.folder": ("data.folder=/etc",),
    "data.options.file": ("data.task=text", 'data.options={file = "/etc/hostname"}'),
}


@pytest.mark.parametrize("key", OWN)
def test_an_operator_queues_no_own_code_and_no_files(runs, sign_in, key, monkeypatch):
    chosen = NewRun(preset="digits-lru", assignments=OWN[key])
    assert command_line.of_the_owner(chosen)[0] == key
    sign_in(Role.OPERATOR)
    with pytest.raises(CreationRefused, match=f"^{key}: names own code or files; bob is operator here"):
        command_line.create(chosen)
    assert list_runs(runs) == []
    sign_in(Role.OWNER)  # for whom only what the server allows counts: settings/limits.py
    with pytest.raises(CreationRefused) as refused:
        command_line.create(chosen)
    assert "names own code or files" not in str(refused.value)


def test_a_run_says_who_queued_it(runs, sign_in):
    sign_in(Role.OPERATOR)
    command_line.create(NewRun(preset="digits-lru"))
    run = read_run(list_runs(runs)[0])
    assert (run.by, run.by_role) == ("bob", "operator")


@pytest.mark.parametrize("preset", ["digits-lru", "smnist-lru"])
def test_what_a_preset_brings_is_no_own_code(preset):
    assert command_line.of_the_owner(NewRun(preset=preset, assignments=("training.steps=5",))) == []


def test_an_operator_queues_no_suite_of_a_file(runs, sign_in, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "digits-lru"\n[[series]]\nname = "a"\n')
    sign_in(Role.OPERATOR)
    with pytest.raises(CreationRefused, match="no suite that ships"):
        command_line.create_suite(str(file))
    assert list_runs(runs) == []


def test_folders_are_no_fields_of_an_operators_form(open_page, sign_in):
    fields = {f"{key}-digits-lru" for key in command_line.FOLDERS}
    sign_in(Role.OPERATOR)
    assert not fields & drawn(open_page("new_run"))
    sign_in(Role.OWNER)
    assert fields <= drawn(open_page("new_run"))


# The page System.


def test_the_page_system_says_as_whom_one_acts_and_shows_no_secret(open_page, sign_in):
    sign_in(Role.VIEWER)
    told = text_of(open_page("system"))
    assert "You are bob, a viewer" in told and "Tokens" not in told
    sign_in(Role.OWNER)
    page = open_page("system")
    assert "You are ada, the owner" in text_of(page)
    assert list(page.dataframe[-1].value["Name"]) == ["bob"]
    assert list(page.dataframe[-1].value["Role"]) == ["viewer"]
    secrets = [
        tokens.owner_token(),
        *(token.digest for token in tokens.named()),
        *st.context.cookies.values(),
    ]
    everything = str(page.main) + page.dataframe[-1].value.to_csv()
    assert not [secret for secret in secrets if secret in everything]


def test_an_operator_resumes_but_accepts_no_code_that_changed(open_page, waiting, sign_in):
    waiting.event("resume_refused", reason="not resumed: my_model.py (model.family) changed")
    sign_in(Role.OWNER)
    assert "accept_changes" in drawn(open_page("run", run=waiting.id))
    sign_in(Role.OPERATOR)
    keys = drawn(open_page("run", run=waiting.id))
    assert "resume" in keys and "accept_changes" not in keys
