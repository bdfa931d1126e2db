"""A command imports what it uses: others wait in their modules, and heavy packages until they are needed."""

import subprocess
import sys

import pytest

from hankelboard.trainer.cli import main
from hankelboard.trainer.cli.listed import COMMANDS
from tests.trainer.small_run import SmallRun

PROGRAM = """
import sys
before = set(sys.modules)
from hankelboard.trainer.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print("\\n" + " ".join(set(sys.modules) - before))
"""
OURS = "hankelboard."


def imported(*arguments):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def ours(modules, folder):
    return {module for module in modules if module.startswith(f"{OURS}{folder}.")}


def test_help_imports_no_command():
    modules = imported("--help")
    assert ours(modules, "trainer.cli") == {f"{OURS}trainer.cli.{name}" for name in ("listed", "version")}
    assert ours(modules, "storage") == {f"{OURS}storage.errors"}
    assert not {"typing", "dataclasses", "json", "pathlib", "shutil", "importlib.metadata"} & modules


@pytest.mark.parametrize("command", ["runs", "show"])
def test_what_lists_runs_imports_the_readers_of_their_journals_alone(tmp_path, command):
    run = SmallRun(tmp_path).paths.run_id
    modules = imported(command, *([run] if command == "show" else []), "--runs-dir", str(tmp_path))
    assert ours(modules, "trainer.cli") == {
        f"{OURS}trainer.cli.{name}" for name in ("listed", "version", "reading", "adopting", "arguments")
    }
    assert not ours(modules, "settings")
    assert not {f"{OURS}storage.{name}" for name in ("verification", "checkpoints", "systems")} & modules
    assert not {"subprocess", "secrets", "shutil", "ctypes", "tomllib", "importlib.metadata"} & modules


@pytest.mark.parametrize("name", COMMANDS)
def test_every_module_adds_the_commands_that_are_listed_of_it(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and f"hankelboard {name} [-h]" in said
    assert COMMANDS[name][1][1:] in " ".join(said.split())
