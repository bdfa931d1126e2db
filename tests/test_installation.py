"""An installed Hankelboard, and a checkout, in a folder full of files that are called like parts of it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.hostile_folder import hostile_folder
from tests.waiting import PATIENCE_S, until

ROOT = Path(__file__).parent.parent
FOLDERS = ("access", "app", "comparison", "docs", "settings", "storage", "trainer")
FILES = ("hankelboard", "README.md", "LICENSE", "pyproject.toml", "setup.py")
TINY = (
    "training.steps=20", "training.threads=1", "model.layers=1", "model.width=8", "model.state_dim=8",
    "reduction.steps=[10]", "reduction.tolerance=0.5", "reduction.policy=auto", "output.tensorboard=false",
)  # fmt: skip
FORMS = """
import sys
from streamlit.testing.v1 import AppTest
page = AppTest.from_file(sys.argv[1], default_timeout=600).run()
page.switch_page("views/new_run.py").run()
page.text_input(key="name-digits-lru").set_value("From the page").run()
page.text_input(key="model.family-digits-lru").set_value("trainer.models:MyModel").run()
page.button(key="create").click().run()
page.switch_page("views/glossary.py").run()
assert len(page.expander) == 4 and not page.exception, page.exception
assert not {"torch", "trainer"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What git knows of the project, without what lies about in a working tree."""
    folder = tmp_path_factory.mktemp("source")
    for name in (*FOLDERS, *FILES):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        options = {"symlinks": True, "ignore": shutil.ignore_patterns("__pycache__", "*.png")}
        copy(ROOT / name, folder / name, **(options if copy is shutil.copytree else {}))
    return folder


def pip(*arguments, **options):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    built = pip("wheel", source, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


class Installation:
    """Hankelboard as `python -P -m hankelboard`, found in one place, used in one folder."""

    def __init__(self, place, folder):
        self.folder = folder
        self.place = place
        self.command = [sys.executable, "-P", "-m", "hankelboard"]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HANKELBOARD_")}
        self.environment = {**kept, "PYTHONPATH": str(place), "HANKELBOARD_USER": "ada",
                            "HANKELBOARD_STATE": str(folder / "state")}  # fmt: skip

    def run(self, *arguments, program=()):
        done = subprocess.run(
            [*(program or self.command), *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=["wheel", "checkout"])
def installed(request, wheel, source, tmp_path_factory):
    place = source
    if request.param == "wheel":
        place = tmp_path_factory.mktemp("site")
        done = pip("install", wheel, "--no-deps", "--no-index", "--target", place)
        assert done.returncode == 0, done.stderr
    return Installation(place, hostile_folder(tmp_path_factory.mktemp("here")))


def test_the_wheel_holds_one_package_and_all_that_it_reads(wheel, source):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"hankelboard"}
    beside = ("app/static/*", "app/.streamlit/*", "settings/presets/*", "settings/suites/*", "*/**/*.py")
    wanted = {f"hankelboard/{path.relative_to(source)}" for kind in beside for path in source.glob(kind)}
    assert {name for name in wanted if "/hankelboard/" not in name and "/docs/" not in name} <= set(names)
    assert {"hankelboard/py.typed", "hankelboard/docs/NUMERICS.md"} <= set(names)
    assert {name for name in names if name.startswith("hankelboard/docs/")} <= wanted_documents()


def wanted_documents():
    from hankelboard.app.views import glossary

    return {f"hankelboard/docs/{name}" for name in glossary.DOCUMENTS}


def test_a_copy_that_lost_its_links_is_refused_in_a_sentence(source, tmp_path):
    copy = shutil.copytree(source, tmp_path / "copy", symlinks=True)
    for link in (copy / "hankelboard").iterdir():
        if link.is_symlink():  # what git writes where links are switched off
            target = str(link.readlink())
            link.unlink()
            link.write_text(target)
    refused = pip("wheel", copy, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", tmp_path)
    assert refused.returncode != 0
    assert "hankelboard/access is no folder: symbolic links were lost." in refused.stdout + refused.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_commands_and_ones_own_model_work_in_a_folder_of_namesakes(installed):
    assert "usage: hankelboard" in installed.run("--help")
    assert "digits-lru" in installed.run("presets")
    ours, own = new(installed), new(installed, "--config", "own.toml")
    installed.run("worker", "--once", "--jobs", "2")
    by_hand = new(installed, "--config", "own.toml", "--no-queue")
    installed.run("run", by_hand)
    for run in (ours, own, by_hand):
        assert '"state": "finished"' in installed.run("show", run, "--json")
        assert '"state": "applied"' in installed.run("proposals", run, "--json")
    installed.run("analyse", ours)
    installed.run("export", ours, "last", "exported")
    assert (installed.folder / "exported" / "loader.py").is_file()


def new(installed, *arguments):
    keys = [part for key in TINY for part in ("--set", key)]
    return installed.run("new", "--preset", "digits-lru", *arguments, *keys).split()[0]


def test_pages_work_in_a_folder_of_namesakes(installed):
    port = free_port()
    with (installed.folder / "up.log").open("wb") as log:
        up = subprocess.Popen([*installed.command, "up", "--port", str(port)], cwd=installed.folder,
                              env=installed.environment, stdout=log, stderr=log)  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: up.poll() is not None or answer(f"{address}/_stcore/health"), every_s=0.2)
        log = (installed.folder / "up.log").read_text()
        token = (installed.folder / "state" / "token").read_text().strip()
        assert f"{address}/?token={token}" in log
        assert "<title>" in answer(f"{address}/", token), log
        assert answer(f"{address}/app/static/logo.svg", token).startswith("<svg")
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(PATIENCE_S)


def answer(address, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address, headers=headers)
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        return reply.read().decode()
    return ""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_pages_import_neither_what_lies_about_nor_the_own_code_they_queue(installed):
    where = "import hankelboard.app; print(*hankelboard.app.__path__)"
    app = Path(installed.run(program=[sys.executable, "-P", "-c", where]).strip())
    inside = Installation(installed.place, app)  # as `hankelboard web` starts it
    inside.environment |= {
        "HANKELBOARD_FOLDER": str(installed.folder), "HANKELBOARD_RUNS": str(installed.folder / "runs"),
        "HANKELBOARD_STATE": installed.environment["HANKELBOARD_STATE"], "HANKELBOARD_NO_TOKEN": "1",
        "HANKELBOARD_ALLOW_CODE": "trainer.models",
    }  # fmt: skip
    inside.run(str(app / "main.py"), program=[sys.executable, "-P", "-c", FORMS])
    made = next(run for run in json.loads(installed.run("runs", "--json")) if run["name"] == "From the page")
    config = json.loads((installed.folder / "runs" / made["run"] / "run.json").read_text())["config"]
    assert config["model"]["path"] == str(installed.folder)
