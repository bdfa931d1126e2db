"""The rules of the house (docs/ARCHITECTURE.md) that a test can enforce."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("access", "app", "comparison", "settings", "storage", "trainer")
WINGS = {  # what each wing may import of its package besides itself
    "app": {
        "words": set(),
        "data": {"words"},
        "live": {"words", "data"},
        "door": {"data"},
        "charts": {"words", "data"},
        "panels": {"words", "data", "charts"},
        "views": {"words", "data", "charts", "panels", "live"},
    },
    "trainer": {
        "reduction": set(),
        "layers": {"reduction"},
        "data": {"layers"},  # the precision that losses are computed in
        "compression": {"reduction", "layers"},
        "training": {"reduction", "layers", "data", "compression"},
        "export": {"layers", "data"},
        "work": {"compression"},
        "worth": {"reduction", "data", "compression", "training"},
        "cli": {"compression", "training", "work", "worth", "data", "export"},
    },
}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "base"}


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported(path):
    """What a module imports, wherever in it: our own packages by their second name, others by their first."""
    return map(short, full_names(path))


def full_names(path):
    """What a module imports, wherever in it, by its whole name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def short(name):
    first, _, rest = name.partition(".")
    assert first not in PACKAGES, f"{name}: say hankelboard.{name}"
    return rest.partition(".")[0] if first == "hankelboard" else first


def test_each_folder_at_the_top_is_linked_under_the_one_name():
    for folder in (*PACKAGES, "docs"):
        assert (ROOT / "hankelboard" / folder).readlink() == Path("..") / folder
    assert all(modules(package) for package in PACKAGES)


def test_app_never_imports_trainer_or_torch():
    for path in modules("app"):
        assert not {"trainer", "torch"} & set(imported(path)), path


@pytest.mark.parametrize(("package", "wings"), WINGS.items())
def test_each_wing_has_its_place_in_the_order(package, wings):
    assert wings.keys() == {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}


@pytest.mark.parametrize(
    ("package", "wing"), [(name, wing) for name, wings in WINGS.items() for wing in wings]
)
def test_wings_import_by_their_order_only(package, wing):
    for path in modules(f"{package}/{wing}"):
        names = [name.split(".") for name in full_names(path)]
        reached = {name[2] for name in names if name[:2] == ["hankelboard", package]}
        assert reached & WINGS[package].keys() <= {wing, *WINGS[package][wing]}, path


def test_trainer_never_imports_app_or_streamlit():
    for path in modules("trainer"):
        assert not {"app", "streamlit"} & set(imported(path)), path


def test_storage_imports_the_standard_library_only():
    for path in modules("storage"):
        assert set(imported(path)) <= set(sys.stdlib_module_names) | {"storage"}, path


def test_comparison_knows_neither_trainer_nor_page():
    allowed = set(sys.stdlib_module_names) | {
        "comparison",
        "storage",
        "numpy",
        "scipy",
        "pandas",
        "altair",
        "vl_convert",
    }
    for path in modules("comparison"):
        assert set(imported(path)) <= allowed, path


def test_access_imports_storage_and_the_standard_library_only():
    for path in modules("access"):
        assert set(imported(path)) <= set(sys.stdlib_module_names) | {"access", "storage"}, path


def test_settings_import_storage_access_and_the_standard_library_only():
    for path in modules("settings"):
        assert set(imported(path)) <= set(sys.stdlib_module_names) | {"settings", "storage", "access"}, path


def test_app_reads_by_storage_settings_access_and_comparison():
    allowed = {"app", "storage", "settings", "access", "comparison"}
    for path in modules("app"):
        assert set(imported(path)) & set(PACKAGES) <= allowed, path


def test_comparison_is_of_the_command_line_alone():
    for wing in WINGS["trainer"].keys() - {"cli"}:
        for path in modules(f"trainer/{wing}"):
            assert "comparison" not in set(imported(path)), path


def test_reduction_is_numpy_but_for_the_bridge():
    for path in modules("trainer/reduction"):
        if path.name != "surgery.py":
            assert "torch" not in set(imported(path)), path


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_named_for_nothing(package):
    assert not [path for path in modules(package) if path.stem in FORBIDDEN_NAMES]


def test_no_module_of_app_shadows_a_package():
    assert not [path for path in (ROOT / "app").iterdir() if path.stem in PACKAGES]


def test_only_layout_builds_paths_inside_a_run():
    """File names of the format appear in storage/layout.py and nowhere else in code."""
    names = ("status.json", "events.jsonl", "metrics.jsonl", "spectra.jsonl", "run.json", "manifest.json")
    for package in PACKAGES:
        for path in modules(package):
            if path == ROOT / "storage" / "layout.py":
                continue
            tree = ast.parse(path.read_text())
            texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert not texts & set(names), path


def test_whole_files_are_written_by_atomic_only():
    for package in PACKAGES:
        for path in modules(package):
            if path == ROOT / "storage" / "atomic.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                modes = [
                    a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
                ]
                writes = name == "open" and any(set(mode) & set("wx") and len(mode) <= 3 for mode in modes)
                assert not writes and name not in ("write_text", "write_bytes"), f"{path}:{node.lineno}"


OPENING = {
    "open", "read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "makedirs", "unlink", "rmdir",
    "touch", "symlink_to", "hardlink_to", "link", "symlink", "truncate", "glob", "rglob", "iterdir",
    "listdir", "scandir", "walk", "rmtree", "copyfile", "copy2", "copytree", "move", "chmod", "utime",
    "load_file", "save_file", "safe_open", "SummaryWriter", "rename", "replace", "fdopen", "FileIO",
}  # fmt: skip
"""Calls that open, list or change what lies at a path."""
NOT_OF_A_RUN = {
    "storage/opening.py": "this is where it is done",
    "storage/atomic.py": "below the descriptor of a folder that opening.py opened",
    "storage/layout.py:attempt_files": "follows no link; opening.py needs that module",
    "storage/runs.py:_creating_without_locks": "the folder of all runs",
    "storage/checkpoints.py:_problem": "fdopen of what opening.py opened",
    "storage/checkpoints.py:_facts": "fdopen of what opening.py opened",
    "storage/journal.py:pieces": "fdopen of what opening.py opened",
    "storage/runs.py:create_run": "a directory that it has just made, under a name that nobody knows",
    "storage/runs.py:list_runs": "the folder of all runs",
    "storage/runs.py:creating": "the folder of all runs",
    "storage/workers.py": "files of workers, beside the runs",
    "storage/given_files.py": "files that people name",
    "storage/status.py": "the system's own files",
    "trainer/compression/provenance.py:_processor": "the system's own files",
    "trainer/compression/energy.py": "the system's own files",
    "trainer/compression/own_version.py:commit": "the distribution's own files",
    "trainer/training/cores.py:_text": "the system's own files",
    "trainer/training/fingerprints.py": "the source files of people's modules",
    "trainer/compression/checkpoint.py:write_payload": "a folder that publish has just made",
    "trainer/compression/checkpoint.py:read_tensors": "checked by opening.py right before",
    "trainer/compression/recorder.py:_open": "a folder that opening.py made right before",
    "trainer/export/__init__.py": "a folder that the user names; the weights are checked by opening.py",
    "trainer/export/loader.py": "a folder that was exported",
    "trainer/work/worker.py:work": "the folder of all runs",
    "trainer/cli/__init__.py:main": "the null device",
    "trainer/cli/entering.py:_refuse_silence": "opens nothing: an address for the browser",
    "trainer/cli/port_holder.py": "the system's own files",
    "trainer/data": "data that the user names, or that comes with the package",
    "trainer/layers": "replace is a method of layers",
    "trainer/reduction": "truncate is what it does to systems",
    "app/data/installation.py": "the system's own files",
    "app/door/headers.py:_inline_scripts": "a page of Streamlit",
    "app/views/glossary.py": "documents that come with the package",
}
"""Where such a call is of no path in a run, or safe otherwise, and why."""


def calls_that_open(package):
    """What opens a path otherwise than by storage/opening.py: "file:function", call and line."""
    for path in modules(package):
        tree = ast.parse(path.read_text())
        for function, node in calls_in(tree, ""):
            of, name = "", getattr(node.func, "id", "")
            if isinstance(node.func, ast.Attribute):
                of, name = ast.unparse(node.func.value), node.func.attr
            other = of in ("opening", "webbrowser", "dataclasses") or (
                name in ("rename", "replace") and of != "os" and (len(node.args) != 1 or node.keywords)
            )  # of texts, tables and dates
            if name in OPENING and not other and not (name == "replace" and of.endswith("map")):
                yield f"{path.relative_to(ROOT)}:{function}", name, node.lineno


def calls_in(node, function):
    for child in ast.iter_child_nodes(node):
        inner = child.name if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Call):
            yield inner, child
        yield from calls_in(child, inner)


def test_what_lies_in_a_run_is_opened_by_one_module_only():
    """A call that this finds goes through storage/opening.py, or is named above with its reason."""
    found, used = [], set()
    for package in ("storage", "trainer", "app", "comparison"):
        for place, name, line in calls_that_open(package):
            reasons = [
                known
                for known in NOT_OF_A_RUN
                if place == known or place.startswith((f"{known}:", f"{known}/"))
            ]
            used.update(reasons)
            found += [] if reasons else [f"{place}: {name}, line {line}"]
    assert not found, "\n".join(found)
    assert used == NOT_OF_A_RUN.keys(), "exceptions that nothing needs any more"


BINARY_BY_DEFAULT = {"os", "gzip"}
"""Modules whose open gives bytes, unless asked otherwise."""


def opens_text(call):
    """Whether a call opens text in the encoding of whatever locale there is."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    module = getattr(getattr(call.func, "value", None), "id", "")
    named = {keyword.arg for keyword in call.keywords}
    modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if named & {"text", "universal_newlines"}:
        return module == "subprocess"
    if "encoding" in named or any("b" in mode for mode in modes) or module in BINARY_BY_DEFAULT:
        return False
    if isinstance(call.func, ast.Attribute) and name == "open" and call.args and not modes:
        return False  # of a browser, or an address
    return name in ("open", "fdopen", "TextIOWrapper") or (
        name in ("read_text", "write_text") and not call.args
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_no_text_is_read_or_written_in_the_encoding_of_a_locale(package):
    found = [
        f"{path}:{node.lineno}"
        for path in modules(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and opens_text(node)
    ]
    assert not found, "name an encoding"


def test_only_the_terminal_s_module_prints_where_a_run_or_a_worker_may_be_at_work():
    for wing in ("compression", "training", "work"):
        for path in modules(f"trainer/{wing}"):
            names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
            assert "print" not in names or path.stem == "terminal", f"{path}: use terminal.say"


@pytest.mark.parametrize(
    "statement",
    [
        "import hankelboard.app.data.runs",
        "import hankelboard.storage.summary",
        "import hankelboard.trainer.cli",
        "import hankelboard.settings.config",
    ],
)
def test_reading_a_run_does_not_import_torch(statement):
    check = f"{statement}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT)


def test_no_path_of_a_machine_is_in_the_project():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for name in tracked.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".sh"} and path.exists():
            text = path.read_text()
            assert not re.search(r"(?<![\w.])/(?:work|root)/", text), name


READS_ITS_OWN = {"trainer/compression/checkpoint.py"}  # loop.json, which no other program reads


def test_records_are_read_by_the_decoders_of_storage_only():
    """Nobody else meets JSON as it lies on disk: all readers agree on what is damaged."""
    raw = {"read_record", "read_journal", "decode", "decode_lines"}
    readers = ("app", "comparison", "trainer", "settings")
    for path in (path for package in readers for path in modules(package)):
        names = {name.rpartition(".")[2] for name in full_names(path) if ".storage." in name}
        if str(path.relative_to(ROOT)) not in READS_ITS_OWN:
            assert not raw & names, path
