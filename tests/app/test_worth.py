"""Page New run asks whether cutting is worth it: one process at a time, whose answer it shows."""

import io
import json
import sys
import threading

import pytest

from hankelboard.app.data import worth
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.settings.new_run import NewRun
from tests.app.conftest import text_of
from tests.waiting import until


class Process:
    """A command that says a line, and answers once `answers` is set."""

    pid = 2**30  # of no process

    def __init__(self, command, env, pass_fds, **_):
        self.command, self.answers, self.code = command, threading.Event(), 0
        self.stdout = io.StringIO(json.dumps({"words": ["Train the small one: *16* do as well.", "cost: 2"]}))
        assert env["HANKELBOARD_LIFELINE"] == str(*pass_fds)

    @property
    def stderr(self):
        yield "50 updates, seed 0, N: validation 10 %\n"
        self.answers.wait()
        if self.code:
            yield "hankelboard: start.run: worth compares networks\n"

    def wait(self):
        return self.code

    def terminate(self):
        self.code = -15
        self.answers.set()


@pytest.fixture
def processes(monkeypatch):
    """All that are started, in order; what is left at the end is answered."""
    started = []

    def start(command, **options):
        started.append(Process(command, **options))
        return started[-1]

    monkeypatch.setattr(worth.subprocess, "Popen", start)
    monkeypatch.setattr(worth, "_jobs", [])
    yield started
    for process in started:
        process.answers.set()


def answered(page):
    until(lambda: worth._jobs[0].over)
    page.run()


def test_the_button_asks_about_the_choices_and_shows_progress_and_answer(open_page, processes):
    page = open_page("new_run")
    page.text_input(key="training.steps-digits-lru").set_value("300").run()
    page.button(key="worth").click().run()
    assert processes[0].command[4:] == [
        "worth", "--preset", "digits-lru", "--set", "training.steps=300", "--json",
    ]  # fmt: skip
    assert processes[0].command[:4] == [sys.executable, "-P", "-m", "hankelboard"]
    until(lambda: worth._jobs[0].said)
    page.run()
    assert "50 updates, seed 0" in text_of(page) and page.button(key="worth").disabled
    processes[0].answers.set()
    answered(page)
    assert "Train the small one" in text_of(page) and "cost" in text_of(page)
    assert not page.button(key="worth").disabled and not page.exception


def test_what_the_command_line_refuses_is_said(open_page, processes):
    page = open_page("new_run")
    page.button(key="worth").click().run()
    processes[0].code = 2
    processes[0].answers.set()
    answered(page)
    assert "worth compares networks" in text_of(page).replace("\\", "")


def test_one_question_is_asked_at_a_time(processes):
    worth.ask(NewRun(preset="digits-lru"))
    with pytest.raises(CreationRefused, match="another page asks"):
        worth.ask(NewRun(preset="tones-lru"))
    processes[0].answers.set()
    until(lambda: worth._jobs[0].over)
    worth.ask(NewRun(preset="tones-lru"))
    assert len(processes) == 2


def test_a_question_that_nobody_looks_at_is_ended(processes, monkeypatch):
    monkeypatch.setattr(worth, "LOOK_S", 0.01)
    job = worth.ask(NewRun(preset="digits-lru"))
    worth.look(job)
    assert not job.over
    job.seen -= worth.FORGOTTEN_S
    until(lambda: job.over)
    assert processes[0].code == -15 and job.problem


def test_own_code_and_folders_elsewhere_are_not_asked_about_from_a_page(processes, monkeypatch):
    with pytest.raises(CreationRefused, match=r"not started from a browser"):
        worth.ask(NewRun(preset="digits-lru", assignments=("data.task=os:system",)))
    with pytest.raises(CreationRefused, match="outside of the folders"):
        worth.ask(NewRun(preset="smnist-lru", assignments=("data.folder=/etc",)))
    assert not processes
