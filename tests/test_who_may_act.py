"""Whatever a page creates, starts or deletes, it asks first who may: at the moment of acting, where it acts.

What writes is found by following calls through storage, access and settings, so that a function which is new
there counts by itself.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = ("access", "comparison", "settings", "storage")
"""Folders whose functions pages may call."""
AT_THE_DOOR = {
    f"hankelboard.access.{name}" for name in ("sessions.begin", "sessions.end", "tokens.owner_token")
}
"""What lets people in and out: there is nobody to ask yet."""
SYSTEM = {
    "os": {"O_APPEND", "O_CREAT", "O_RDWR", "O_TRUNC", "O_WRONLY", "execv", "link", "makedirs", "mkdir",
           "posix_spawn", "pwrite", "remove", "rename", "replace", "rmdir", "symlink", "system", "unlink"},
    "shutil": {"copy", "copyfile", "copytree", "move", "rmtree"},
    "subprocess": {"Popen", "call", "check_call", "check_output", "run"},
}  # fmt: skip
ONLY_ASKS = {"hankelboard.storage.status._started_at"}
"""Starts a process all the same: `ps`, for the time at which another one began."""
METHODS = {"hardlink_to", "mkdir", "rmdir", "symlink_to", "touch", "unlink", "write_bytes",
           "write_text"}  # fmt: skip


def name_of(path):
    return ".".join(["hankelboard", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def bindings(tree):
    """What each name of a module stands for: imports, and what it defines itself."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {(alias.asname or alias.name): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {(alias.asname or alias.name): f"{node.module}.{alias.name}" for alias in node.names}
    return bound


def functions(tree):
    """Each function of a module with its dotted name; what is outside of all is one called "". Lambdas and
    functions inside others belong to the one around them."""
    outside = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, [node]
        elif isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{part.name}", [part]
        else:
            outside.append(node)
    yield "", outside


def mentioned(nodes, module, bound, own):
    """Whole names of all functions that code calls or hands on (as callbacks), with the line."""
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, ast.Name):
                if node.id in own:
                    yield f"{module}.{node.id}", node.lineno
                elif node.id in bound:
                    yield bound[node.id], node.lineno
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                place = bound.get(node.value.id, f"{module}.{node.value.id}" if node.value.id in own else "")
                yield f"{place}.{node.attr}", node.lineno


def acts_itself(nodes):
    """The line in which code first changes files or starts a process by itself; None where it does not."""
    lines = []
    for node in (node for root in nodes for node in ast.walk(root)):
        match node:
            case ast.Attribute(ast.Name(module), name) if name in SYSTEM.get(module, ()):
                lines.append(node.lineno)
            case ast.Call(ast.Attribute(_, name)) if name in METHODS or (name == "rename" and node.args):
                lines.append(node.lineno)
            case ast.Call(ast.Attribute(_, "open") | ast.Name("open")) if for_writing(node):
                lines.append(node.lineno)
    return min(lines, default=None)


def for_writing(call):
    texts = [part.value for part in call.args if isinstance(part, ast.Constant)]
    texts += [word.value.value for word in call.keywords if word.arg == "mode"]
    return any(isinstance(text, str) and len(text) <= 3 and set(text) & set("wxa+") for text in texts)


def read(folder):
    """Yield module, function, its nodes and the functions it calls, for all modules of a folder."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bound, module = bindings(tree), name_of(path)
        own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for name, nodes in functions(tree):
            yield f"{module}.{name}", nodes, list(mentioned(nodes, module, bound, own))


@pytest.fixture(scope="module")
def writers():
    """Whole names of all functions below the pages that change files or start processes."""
    everything = [part for folder in BELOW for part in read(folder)]
    uses_of = {name: {used for used, _ in uses} for name, _, uses in everything}
    found = {name for name, nodes, _ in everything if acts_itself(nodes)} - ONLY_ASKS
    while True:
        found |= {
            owner for name in found if (owner := name.rpartition(".")[0]).rpartition(".")[2][0].isupper()
        }
        more = {name for name, used in uses_of.items() if used & found} - found
        if not more:
            return found
        found |= more


def test_what_writes_is_found(writers):
    names = {"proposals.decide", "commands.send_command", "commands.add_note", "runs.create_run"}
    assert {f"hankelboard.storage.{name}" for name in names} <= writers
    assert {"hankelboard.settings.new_run.create", "hankelboard.settings.suite.create_suite"} <= writers
    assert "hankelboard.storage.history.read_history" not in writers


def asked_at(nodes):
    """The line of the first demand(visitor(), Action.X); None without one."""
    lines = []
    for node in (node for root in nodes for node in ast.walk(root)):
        match node:
            case ast.Call(ast.Name("demand"), [ast.Call(ast.Name("visitor"), []), ast.Attribute(action)]):
                if ast.unparse(action) == "Action":
                    lines.append(node.lineno)
    return min(lines, default=None)


def acts(writers):
    """Yield each function of app that acts, the line where it first does, and the line where it asked."""
    for name, nodes, uses in read("app"):
        lines = [line for called, line in uses if called in writers - AT_THE_DOOR]
        lines += filter(None, [acts_itself(nodes)])
        if lines:
            yield name, min(lines), asked_at(nodes)


def test_every_function_of_a_page_that_acts_asks_first(writers):
    found = list(acts(writers))
    assert len(found) >= 5
    assert [name for name, line, asked in found if asked is None or asked > line] == []
