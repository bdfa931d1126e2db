"""What attempts at a run learned from and were made of, as fingerprints, and what changed between two."""

import hashlib
from collections.abc import Iterator, Mapping

from hankelboard.storage.schema import Event, Fingerprints
from hankelboard.storage.vocabulary import EventKind

MODEL = "model.family"
"""The configuration key whose sources are the model's."""
SPLITS = {"train": "the training data", "val": "the validation data", "test": "the test data"}


def fingerprints_of(event: Event) -> Fingerprints:
    """Return the fingerprints in an attempt_started; empty ones where an older program recorded none."""
    return event.get("fingerprints", no_fingerprints())


def no_fingerprints() -> Fingerprints:
    """Return fingerprints of nothing."""
    return {"data": {}, "sources": {}}


def decisive(before: Fingerprints, now: Fingerprints) -> list[str]:
    """Return what differs that training must not go on with unasked: splits and sources of the model."""
    splits = [
        f"{SPLITS.get(split, split)} ({split})"
        for split in _differing(before["data"], now["data"], both=True)
    ]
    return [*splits, *_sources(before, now, [MODEL])]


def incidental(before: Fingerprints, now: Fingerprints) -> list[str]:
    """Return the other sources that differ: of the function that loads the data, which are the same."""
    return _sources(before, now, [key for key in now["sources"] if key != MODEL])


def versions_changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the versions that differ, in words.

    >>> versions_changed({"torch": "2.12.0", "numpy": "2.4.0"}, {"torch": "2.13.0", "numpy": "2.4.0"})
    ['torch 2.12.0 → 2.13.0']
    """
    return [
        f"{name} {before.get(name, '–')} → {now.get(name, '–')}"
        for name in _differing(before, now)
        if before  # an older program recorded none
    ]


def _sources(before: Fingerprints, now: Fingerprints, keys: list[str]) -> list[str]:
    """Return the files that differ where both attempts recorded those of a key."""
    return [
        f"{file} ({key})"
        for key in keys
        if key in before["sources"] and key in now["sources"]
        for file in _differing(before["sources"][key], now["sources"][key])
    ]


def _differing(before: Mapping[str, str], now: Mapping[str, str], *, both: bool = False) -> list[str]:
    """Return the names whose values differ; with `both` only those that are on both sides."""
    names = dict.fromkeys([*before, *now])
    return [
        name
        for name in names
        if before.get(name) != now.get(name) and (not both or (name in before and name in now))
    ]


def digest(data: Mapping[str, str]) -> str:
    """Return one short word for all splits; empty where nothing is known of them."""
    text = "".join(f"{split} {data[split]}\n" for split in sorted(data))
    return hashlib.sha256(text.encode()).hexdigest()[:16] if data else ""


def unaccepted(events: list[Event]) -> Iterator[tuple[int, list[str]]]:
    """Yield the attempts that went on with something decisive changed and nobody accepting it."""
    accepted = {event["attempt"] for event in events if event["kind"] == EventKind.CHANGES_ACCEPTED}
    before: Fingerprints | None = None
    for event in events:
        if event["kind"] != EventKind.ATTEMPT_STARTED:
            continue
        now = fingerprints_of(event)
        changes = decisive(before, now) if before and event.get("checkpoint") else []
        if changes and event["attempt"] not in accepted:
            yield event["attempt"], changes
        before = now if now["data"] or now["sources"] else before
