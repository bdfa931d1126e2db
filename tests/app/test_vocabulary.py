"""Each word of the format has words for people, an icon where icons show, a mark where charts draw it."""

import re
from pathlib import Path

import pytest

from hankelboard.app.data.interventions import MARK_OF_EVENT, MARKS
from hankelboard.app.words import events, labels
from hankelboard.storage import vocabulary
from hankelboard.storage.records import decode, encode
from hankelboard.storage.vocabulary import INTERVENTIONS, EventKind, values

FORMAT = (Path(__file__).parents[2] / "docs" / "FORMAT.md").read_text()
WORDS = {
    vocabulary.RunState: labels.STATES,
    vocabulary.Phase: labels.PHASES,
    vocabulary.ProposalState: labels.OUTCOMES,
    vocabulary.Verdict: labels.VERDICTS,
    vocabulary.Policy: labels.POLICIES,
    vocabulary.Waiting: labels.WAITING,
    vocabulary.BadgeColor: labels.BADGES,
    vocabulary.Cause: labels.CAUSES,
    vocabulary.CommandKind: labels.COMMANDS,
    vocabulary.Role: labels.ROLES,
    vocabulary.EventKind: events.WORDS,
}
BY_NAME = [pytest.param(kind, words, id=kind.__name__) for kind, words in WORDS.items()]


@pytest.mark.parametrize(("kind", "words"), BY_NAME)
def test_each_member_has_words_and_nothing_else_has(kind, words):
    assert set(words) == set(values(kind))
    assert all(words.values())


@pytest.mark.parametrize(
    "table", [labels.STATES, labels.OUTCOMES, labels.BADGES], ids=["runs", "proposals", "badges"]
)
def test_what_is_shown_as_a_badge_has_text_icon_and_colour(table):
    for text, icon, color in table.values():
        assert text and re.fullmatch(r"[a-z_]+", icon) and color


def test_each_kind_of_event_has_an_icon_and_a_sentence_that_no_record_breaks():
    for kind, words in events.WORDS.items():
        assert re.fullmatch(r"[a-z_]+", words.icon)
        assert events.describe({"kind": kind, "step": 0, "branch": 0, "attempt": 0})


def test_no_two_kinds_of_event_go_by_one_name():
    names = {events.name(kind) for kind in events.WORDS}
    assert len(names) == len(events.WORDS) and events.name("tea_was_made") == "tea was made"


def test_each_intervention_has_a_mark_and_each_mark_is_drawn():
    assert set(MARK_OF_EVENT) == INTERVENTIONS
    assert set(MARK_OF_EVENT.values()) <= set(MARKS)


@pytest.mark.parametrize(
    "kind", [*WORDS, vocabulary.NoteKind, vocabulary.CommandState, vocabulary.SnapshotCause]
)
def test_the_document_names_each_value(kind):
    row = re.search(rf"^\| {kind.__name__} \| .* \| (.*) \|$", FORMAT, re.MULTILINE)
    assert tuple(row[1].split(", ")) == values(kind)


def test_a_member_is_written_as_its_plain_text():
    line = encode({"kind": EventKind.PAUSED, EventKind.RESUMED: [EventKind.PAUSED]})
    assert line == '{"kind":"paused","resumed":["paused"]}'
    assert type(decode(line)["kind"]) is str
