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
        "live": {"data"},
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
        "cli": {"compression", "training", "work", "data", "export"},
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
