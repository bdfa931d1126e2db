"""What a browser may start, and runs that came from elsewhere, on the pages."""

import shutil

import pytest

from hankelboard.access import tickets
from hankelboard.access.roles import Role, Visitor
from hankelboard.app.data import adoption, command_line
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.settings.new_run import NewRun
from hankelboard.storage.commands import send_command
from hankelboard.storage.journal import Journal
from hankelboard.storage.layout import run_paths
from hankelboard.storage.runs import create_run, list_runs, read_run
from tests.app.conftest import SyntheticRun, text_of

LOADER = "import hankelboard as h\nraise SystemExit('imported')\n@h.data\ndef load(): ...\ndef plain(): ...\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The folder in which the dashboard was started; a module of data lies in it."""
    folder = tmp_path / "here"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "mine" / "load.py").write_text(LOADER)
    (folder / "mine" / "models.py").write_text("from x import Other\nclass Model(Base): ...\n")
    monkeypatch.setenv("HANKELBOARD_FOLDER", str(folder))
    return folder


def queue(**keys):
    assigned = command_line.assignments({key.replace("__", "."): value for key, value in keys.items()})
    return command_line.create(NewRun(preset="digits-lru", assignments=assigned))


def arrived(runs, tmp_path, **options):
    """A run that was copied here from elsewhere."""
    made = SyntheticRun(tmp_path / "elsewhere", "Foreign", **options)
    shutil.copytree(made.paths.root, runs / made.id)
    return run_paths(runs, made.id)


def test_a_command_of_the_shell_is_no_function_of_data(runs, here):
    with pytest.raises(CreationRefused, match=r"data\.task = 'os:system': code of your own is not started"):
        queue(data__task="os:system", data__options='{command = "id"}')
    assert not list_runs(runs)


@pytest.mark.parametrize("allowed", ["mine", "mine.load", "mine.load:load", "other, mine.load"])
def test_own_code_that_the_owner_allowed_is_queued_and_not_imported(runs, here, monkeypatch, allowed):
    monkeypatch.setenv("HANKELBOARD_ALLOW_CODE", allowed)
    paths = run_paths(runs, queue(data__task="mine.load:load"))
    limits = tickets.look(paths).limits
    assert limits.code[-1] in allowed and limits.folders == (str(here),)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mine.load:plain", "not marked with @hankelboard.data"),
        ("mine.load:h", "defines no such function"),
        ("mine.none:load", "there is no mine/none.py"),
        ("mine_too.load:load", "code of your own is not started"),
        ("os:system", "code of your own is not started"),
        ("mine.load:", "defines no such function"),
    ],
)
def test_of_what_is_allowed_only_marked_functions_that_are_defined_there(runs, here, monkeypatch, name, why):
    monkeypatch.setenv("HANKELBOARD_ALLOW_CODE", "mine")
    with pytest.raises(CreationRefused, match=why):
        queue(data__task=name)
    assert not list_runs(runs)


def test_a_model_must_be_a_class_that_is_defined_there(runs, here, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_ALLOW_CODE", "mine.models")
    with pytest.raises(
        CreationRefused, match=r"model\.family = 'mine.models:Other': models.py defines no such"
    ):
        queue(model__family="mine.models:Other")
    assert queue(model__family="mine.models:Model")


def test_own_code_is_the_owners_to_start(here, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_ALLOW_CODE", "mine")
    monkeypatch.setattr(command_line, "visitor", lambda: Visitor("bob", Role.OPERATOR))
    with pytest.raises(CreationRefused, match="bob is operator here, who may not start own code"):
        queue(data__task="mine.load:load")


@pytest.mark.parametrize(
    "keys",
    [
        {"model__path": "/etc"},
        {"data__path": "../"},
        {"data__folder": "~"},
        {"data__folder": "link"},
        {"data__task": "text", "data__options": '{file = "/etc/passwd"}'},
        {"data__task": "text", "data__options": '{file = "link/passwd"}'},
        {"data__task": "text", "data__options": '{file = "none.txt"}', "data__folder": "/etc"},
        {"data__task": "text", "data__options": '{file = "a\\u0000b"}'},
    ],
)
def test_paths_of_a_browser_stay_inside_the_folders(runs, here, keys):
    (here / "link").symlink_to("/etc")
    with pytest.raises(CreationRefused, match=r"outside of the folders that a browser may name|null"):
        queue(**keys)
    assert not list_runs(runs)


def test_a_path_inside_is_kept_in_full_and_other_folders_can_be_allowed(runs, here, tmp_path, monkeypatch):
    (here / "book.txt").write_text("abc")
    config = read_run(run_paths(runs, queue(data__task="text", data__options='{file = "book.txt"}'))).config
    assert config["data"]["options"]["file"] == str(here / "book.txt")
    monkeypatch.setenv("HANKELBOARD_ALLOW_FOLDERS", str(tmp_path / "shared"))
    config = read_run(run_paths(runs, queue(data__folder=str(tmp_path / "shared" / "mnist")))).config
    assert config["data"]["folder"] == str(tmp_path / "shared" / "mnist")


def test_files_of_runs_are_no_input(runs, monkeypatch):
    monkeypatch.setenv("HANKELBOARD_FOLDER", str(runs.parent))
    with pytest.raises(CreationRefused, match="lies among the runs"):
        queue(model__path=str(runs / "copied"))


def test_a_file_is_no_suite_of_a_browser(runs, here):
    (here / "evil.toml").write_text('preset = "digits-lru"\n[[series]]\nname = "x"\n')
    with pytest.raises(CreationRefused, match="no suite that ships with Hankelboard"):
        command_line.create_suite(str(here / "evil.toml"))
    assert not list_runs(runs)


def test_what_a_page_queues_may_be_started(runs, here):
    assert tickets.holds(run_paths(runs, queue()))
    made = command_line.create_suite("smnist-wide", seeds="7")
    assert all(tickets.holds(run_paths(runs, item.run)) for item in made)


def test_a_run_from_elsewhere_is_shown_with_why_nothing_happens(open_page, runs, tmp_path):
    paths = arrived(runs, tmp_path)
    page = open_page("runs")
    assert page.dataframe[0].value["State"].tolist() == ["not adopted"]
    assert "Not adopted: 1 run from elsewhere" in text_of(page)
    assert page.metric[2].value == "0"  # in the queue of no worker
    said = text_of(open_page("run", run=paths.run_id))
    assert "**Not adopted**: it came from elsewhere, or was moved; no worker starts it." in said
    assert "Queued" not in said


def test_the_owner_adopts_it_with_one_click(open_page, runs, tmp_path):
    paths = arrived(runs, tmp_path)
    page = open_page("run", run=paths.run_id)
    page.button(key="adopt").click().run()
    assert tickets.look(paths).limits is not None
    assert "Not adopted" not in text_of(page) and "Queued" in text_of(page)
    assert open_page("runs").dataframe[0].value["State"].tolist() == ["queued"]


def test_nobody_else_does(open_page, runs, tmp_path, monkeypatch):
    paths = arrived(runs, tmp_path)
    monkeypatch.setattr(adoption, "visitor", lambda: Visitor("bob", Role.OPERATOR))
    page = open_page("run", run=paths.run_id)
    assert "Only the owner of this dashboard can adopt it" in text_of(page)
    assert not [button for button in page.button if button.key == "adopt"]
    with pytest.raises(Exception, match="bob is operator here, who may not adopt runs"):
        adoption.adopt(paths.run_id)
    assert not tickets.holds(paths)


def test_a_run_that_names_code_which_no_browser_may_start_is_not_adopted_by_a_click(
    open_page, runs, tmp_path
):
    paths = arrived(runs, tmp_path, task="os:system")
    page = open_page("run", run=paths.run_id)
    assert "It names code of its own, os:\u2060system, which would run as you." in text_of(page)
    page.button(key="adopt").click().run()
    assert "code of your own is not started from a browser here" in text_of(page)
    assert not tickets.holds(paths)


def test_one_that_was_interrupted_says_so_and_a_finished_one_says_nothing(open_page, runs, tmp_path):
    paths = arrived(runs, tmp_path)
    with Journal(paths.events) as journal:
        journal.append({"kind": "attempt_started", "step": 0, "branch": 0, "attempt": 0})
        journal.append({"kind": "attempt_ended", "step": 0, "branch": 0, "attempt": 0, "reason": "asked"})
    assert open_page("runs").dataframe[0].value["State"].tolist() == ["interrupted, not adopted"]
    assert "Not adopted" in text_of(open_page("run", run=paths.run_id))
    with Journal(paths.events) as journal:
        journal.append({"kind": "run_finished", "step": 9, "branch": 0, "attempt": 0})
    assert "Not adopted" not in text_of(open_page("run", run=paths.run_id))


def test_a_run_that_was_changed_since_says_so(open_page, runs):
    run = SyntheticRun(runs)
    run.paths.run_json.write_text(run.paths.run_json.read_text().replace('"batch"', '"batches"', 1) + " ")
    assert "its run.json was changed since" in text_of(open_page("run", run=run.id))


def test_a_command_to_a_finished_run_from_elsewhere_says_why_nobody_answers(open_page, runs, tmp_path):
    paths = run_paths(runs, create_run(runs, name="done", config={}).id)
    with Journal(paths.events) as journal:
        journal.append({"kind": "attempt_started", "step": 0, "branch": 0, "attempt": 0})
        journal.append({"kind": "run_finished", "step": 9, "branch": 0, "attempt": 0})
    send_command(paths, "resume", by="ada", via="browser")
    assert "Not adopted" in text_of(open_page("run", run=paths.run_id))
