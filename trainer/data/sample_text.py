"""A text to train language models on without a file: sentences of a small grammar, drawn by a seed.

It is nobody's text. It has what a model needs memory for, at several distances:

* agreement of number between a subject and its verb, across relative clauses ("The keepers of the tower, of
  whom the baker says that …, admire …");
* quotations in quotations and brackets in brackets, each to be closed in the right order;
* a paragraph with one person and one place: the person is named at its beginning, is "she" or "he" meanwhile,
  and both come back in its last sentence.
"""

from random import Random

NOUNS = [
    "baker", "keeper", "sailor", "teacher", "weaver", "farmer", "painter", "piper", "rider", "hunter",
    "clerk", "miller", "singer", "carter", "potter", "student", "doctor", "gardener", "captain", "builder",
]  # fmt: skip
THINGS = [
    "river", "bridge", "lantern", "garden", "orchard", "harbour", "letter", "ladder", "wagon", "window",
    "tower", "market", "kettle", "blanket", "mirror", "engine", "meadow", "candle", "basket", "violin",
]  # fmt: skip
VERBS = [
    "admire", "follow", "remember", "paint", "mend", "leave", "praise", "count", "guard", "visit",
    "describe", "sell",
]  # fmt: skip
"""Plural; the singular takes an s."""
SAYING = ["say", "think", "know", "claim", "write", "swear"]
ADJECTIVES = [
    "old", "quiet", "green", "narrow", "distant", "broken", "patient", "silver", "hollow", "early",
    "crooked", "golden",
]  # fmt: skip
PLACES = [
    "Ashby", "Corwell", "Dunmore", "Elsworth", "Farrow", "Greenholt", "Harling", "Ivybridge", "Kelsey",
    "Lowick", "Marston", "Oakham",
]  # fmt: skip
SHE = ["Ada", "Beatrice", "Clara", "Dora", "Edith", "Flora", "Grace", "Hilda"]
HE = ["Albert", "Bernard", "Cecil", "David", "Edgar", "Frank", "George", "Henry"]
LINKS = ["while", "because", "although", "until", "after", "before"]
DEPTH = 3
"""Largest depth of quotations and brackets."""


def sample_text(characters: int, seed: int = 0) -> str:
    """Return the first `characters` characters of a seed's text; a longer text extends a shorter one."""
    draw, parts, length = Random(seed), [], 0
    while length < characters:
        part = paragraph(draw)
        parts.append(part)
        length += len(part)
    return "".join(parts)[:characters]


def paragraph(draw: Random) -> str:
    """Return one paragraph about one person in one place, ending in an empty line."""
    she = draw.random() < 0.5
    name, place = _one(draw, SHE if she else HE), _one(draw, PLACES)
    pronoun = "she" if she else "he"
    sentences = [f"{name} came to {place} with {_thing(draw)}."]
    for _ in range(3 + int(4 * draw.random())):
        sentences.append(_sentence(draw, pronoun))
    sentences.append(f"So {name} {_verb(draw, VERBS, True)} {_thing(draw)}, and {place} is quiet again.")
    return " ".join(sentences) + "\n\n"


def _sentence(draw: Random, pronoun: str) -> str:
    kind = draw.random()
    if kind < 0.35:
        text = _clause(draw, 0)
    elif kind < 0.6:
        text = f"{pronoun} {_verb(draw, VERBS, True)} {_thing(draw)} {_one(draw, LINKS)} {_clause(draw, 1)}"
    elif kind < 0.85:
        said = f"{_quoted(draw, 0)} {_verb(draw, SAYING, True)} {pronoun}"
        return f"{said}, {_one(draw, LINKS)} {_clause(draw, 1)}."
    else:
        text = f"{_clause(draw, 1)} {_bracket(draw, 0)}"
    return text[0].upper() + text[1:] + "."


def _clause(draw: Random, depth: int) -> str:
    """Return subject, perhaps a relative clause between, and a verb that agrees with the subject."""
    singular = draw.random() < 0.5
    subject = _subject(draw, singular)
    if depth < 2 and draw.random() < 0.45:
        subject += f", of whom {_reported(draw, depth)},"
    return f"{subject} {_verb(draw, VERBS, singular)} {_thing(draw)}"


def _reported(draw: Random, depth: int) -> str:
    singular = draw.random() < 0.5
    return f"{_subject(draw, singular)} {_verb(draw, SAYING, singular)} that {_clause(draw, depth + 2)}"


def _subject(draw: Random, singular: bool) -> str:
    noun = _one(draw, NOUNS) + ("" if singular else "s")
    adjective = f"{_one(draw, ADJECTIVES)} " if draw.random() < 0.5 else ""
    of = f" of the {_one(draw, THINGS)}{'' if draw.random() < 0.5 else 's'}" if draw.random() < 0.4 else ""
    return f"{'the' if draw.random() < 0.7 else 'every' if singular else 'many'} {adjective}{noun}{of}"


def _thing(draw: Random) -> str:
    adjective = f"{_one(draw, ADJECTIVES)} " if draw.random() < 0.4 else ""
    return f"the {adjective}{_one(draw, THINGS)}"


def _quoted(draw: Random, depth: int) -> str:
    """Return a quotation; inner ones change their marks, and every one is closed."""
    left, right = ("“", "”") if depth % 2 == 0 else ("‘", "’")
    inner = _clause(draw, 1)
    if depth + 1 < DEPTH and draw.random() < 0.4:
        singular = draw.random() < 0.5
        inner = f"{_subject(draw, singular)} {_verb(draw, SAYING, singular)}: {_quoted(draw, depth + 1)}"
    return f"{left}{inner[0].upper()}{inner[1:]}{',' if depth == 0 else ''}{right}"


def _bracket(draw: Random, depth: int) -> str:
    """Return a remark in brackets, round and square ones in turn."""
    left, right = ("(", ")") if depth % 2 == 0 else ("[", "]")
    more = f" {_bracket(draw, depth + 1)}" if depth + 1 < DEPTH and draw.random() < 0.5 else ""
    return f"{left}{_clause(draw, 1)}{more}{right}"


def _verb(draw: Random, verbs: list[str], singular: bool) -> str:
    return _one(draw, verbs) + ("s" if singular else "")


def _one(draw: Random, words: list[str]) -> str:
    """Draw a word by `random()`, the one method whose numbers Python promises not to change."""
    return words[int(draw.random() * len(words))]
