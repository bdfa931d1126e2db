"""Docstrings are imperatives in plain English; words of a private dialect stay out of texts and comments."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("access", "app", "comparison", "settings", "storage", "trainer")
VERBS = re.compile(
    "Add|Answer|Append|Ask|Attach|Average|Begin|Bind|Bring|Build|Call|Carry|Check|Choose|Close|Compute|Count"
    "|Create|Cut|Decode|Decorate|Do|Draw|Eliminate|End|Escape|Fold|Forget|Get|Give|Have|Hold|Ignore|Import"
    "|Insert|Judge|Keep|Leave|Let|Load|Look|Make|Map|Measure|Note|Notify|Obey|Offer|Open|Pick|Prefetch|Publish"
    "|Put|Queue|Raise|Read|Record|Refuse|Remove|Replace|Restore|Return|Run|Save|Say|Scale|See|Send|Set|Show"
    "|Start|Take|Train|Turn|Update|Wait|Watch|Work|Write|Yield"
)
"""What the summary of a public function may begin with. A verb that is missing is added here."""
DIALECT = re.compile(
    r"\b(told|(?<!cannot )tells?|telling|one's own|whence|so many|besides|whoever)\b", re.IGNORECASE
)


def sources():
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def summaries_without_verb(tree):
    """Yield name and first word of public functions whose summary does not begin with one of VERBS."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            words = (ast.get_docstring(node) or "").split()
            is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
            if words and not is_property and not VERBS.fullmatch(words[0].rstrip(",.:")):
                yield node.name, words[0]


def texts(source):
    """Yield the texts and comments of a module, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield token.start[0], token.string


@pytest.mark.parametrize("package", PACKAGES)
def test_summaries_of_public_functions_are_imperatives(package):
    found = [
        (str(path.relative_to(ROOT)), *each)
        for path in sorted((ROOT / package).rglob("*.py"))
        for each in summaries_without_verb(ast.parse(path.read_text()))
    ]
    assert not found


def test_texts_and_comments_are_plain_english():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in sources()
        for line, text in texts(path.read_text())
        for match in DIALECT.finditer(text)
    ]
    assert not found


@pytest.mark.parametrize("summary", ["The rank.", "What a rank would mean.", "Points of a layer.", "r of N"])
def test_a_summary_that_is_no_imperative_is_noticed(summary):
    assert list(summaries_without_verb(ast.parse(f'def rank():\n    """{summary}"""')))


def test_properties_and_private_functions_may_be_phrases():
    source = '@property\ndef rank(self):\n    """The rank."""\n\ndef _rank():\n    """The rank."""'
    assert not list(summaries_without_verb(ast.parse(source)))
