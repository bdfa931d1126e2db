"""`hankelboard --version`: of a checkout with its commit, of an installation with what pip recorded."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hankelboard.trainer.cli import main
from hankelboard.trainer.compression import own_version

ROOT = Path(__file__).parents[3]


def printed(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    return capsys.readouterr().out.strip()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_checkout_names_its_commit(capsys):
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    said = printed(capsys).replace("-dirty)", ")")
    assert said == f"hankelboard {metadata.version('hankelboard')} (commit {commit})"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_the_repository_whose_hook_runs_is_not_meant(capsys, monkeypatch, tmp_path):
    before = printed(capsys)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert printed(capsys) == before


class Recorded:
    version = metadata.version("hankelboard")

    def __init__(self, origin):
        self._origin = origin

    def read_text(self, name):
        return self._origin if name == "direct_url.json" else None


@pytest.mark.parametrize(
    ("origin", "commit"),
    [
        (
            json.dumps({"url": "https://…", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}),
            "0123456",
        ),
        (json.dumps({"url": "file:///a.whl", "archive_info": {}}), ""),
        (None, ""),
    ],
)
def test_an_installation_names_the_commit_that_pip_recorded(origin, commit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        own_version, "__file__", str(tmp_path / "hankelboard" / "compression" / "own_version.py")
    )
    monkeypatch.setattr(own_version.metadata, "distribution", lambda name: Recorded(origin))
    end = f" (commit {commit})" if commit else ""
    assert printed(capsys) == f"hankelboard {metadata.version('hankelboard')}{end}"


def test_a_checkout_without_git_is_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_version.described(tmp_path) == ""


def test_the_version_is_printed_without_torch():
    program = (
        "import sys; from hankelboard.trainer.cli import main\n"
        "try: main(['--version'])\nfinally: assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
