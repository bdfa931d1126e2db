"""What the cuts of a run saved: seconds that the uncut model would have trained longer, less what they cost.

At each cut seconds per training step were measured before and after it, in turns. A second of training since
then would have taken the uncut model as many seconds as the ratio says; of several cuts the ratios multiply.
Ratios, because the machine that is busy now slows both sides of a pair, and the training that they are held
against. Only the live path counts, so a rollback takes back what its cuts saved, and steps that are trained
again after a crash count once.
"""

from collections.abc import Iterable
from typing import NamedTuple, TypedDict

from hankelboard.storage import figures
from hankelboard.storage.history import History
from hankelboard.storage.schema import Event
from hankelboard.storage.vocabulary import EventKind


class Savings(TypedDict):
    """Seconds that cuts saved so far; negative where they cost more than they saved."""

    net_s: float
    """`steps_s` less `cutting_s`."""
    share: float
    """The same as a share of `uncut_s`."""
    uncut_s: float
    """What training would have taken until now without cuts."""
    steps_s: float
    """What the steps since the cuts would have taken longer."""
    cutting_s: float
    """What was spent on cuts: evidence, their spectra, checkpoints and validations."""
    to_come_s: float
    """What the steps that are left will save at the speed since the last cut."""


class _Cut(NamedTuple):
    step: int
    train_s: float
    ratio: float
    """Seconds per step before it over those after it."""
    after_s: float


def savings_of(
    history: History, *, step: int, steps_left: int, train_s: float | None, cutting_s: float
) -> Savings | None:
    """Return what the cuts in the weights saved; None without a cut, or where one was not timed.

    Parameters
    ----------
    step, train_s
        Where training is, and the seconds of it that lie behind.
    cutting_s
        Seconds spent on cuts.
    """
    cuts = _timed_cuts(history)
    if not cuts or train_s is None:
        return None
    steps_s, ratio = 0.0, 1.0
    ends = [*(cut.train_s for cut in cuts[1:]), train_s]
    for cut, end in zip(cuts, ends, strict=True):
        ratio *= cut.ratio
        steps_s += max(0.0, end - cut.train_s) * (ratio - 1.0)
    net_s, uncut_s, last = steps_s - cutting_s, train_s + steps_s, cuts[-1]
    pace = (train_s - last.train_s) / (step - last.step) if step > last.step else last.after_s
    return {
        "net_s": net_s,
        "share": net_s / max(uncut_s, 1e-9),
        "uncut_s": uncut_s,
        "steps_s": steps_s,
        "cutting_s": cutting_s,
        "to_come_s": steps_left * pace * (ratio - 1.0),
    }


def _timed_cuts(history: History) -> list[_Cut]:
    """Return the cuts on the live path by step; none where one of them was not timed.

    A cut that was applied again after a crash counts as it was the last time.
    """
    events = {
        event["proposal"]: event
        for event in history.interventions
        if event["kind"] == EventKind.REDUCTION_APPLIED and history.on_path(event)
    }
    cuts = [_timed(event) for event in events.values()]
    timed = [cut for cut in cuts if cut is not None]
    return sorted(timed) if len(timed) == len(cuts) else []


def _timed(event: Event) -> _Cut | None:
    seconds, train_s = event.get("seconds_per_step"), event.get("train_s")
    if seconds is None or train_s is None or min(seconds["now"], seconds["after"]) <= 0:
        return None
    return _Cut(event["step"], train_s, seconds["now"] / seconds["after"], seconds["after"])


def total(of_runs: Iterable[Savings | None]) -> Savings | None:
    """Return what the cuts of several runs saved together; None where no run was cut."""
    known = [savings for savings in of_runs if savings]
    if not known:
        return None
    uncut_s = sum(savings["uncut_s"] for savings in known)
    net_s, steps_s, cutting_s, to_come_s = (
        sum(savings[key] for savings in known) for key in ("net_s", "steps_s", "cutting_s", "to_come_s")
    )
    return {
        "net_s": net_s, "share": net_s / max(uncut_s, 1e-9), "uncut_s": uncut_s, "steps_s": steps_s,
        "cutting_s": cutting_s, "to_come_s": to_come_s,
    }  # fmt: skip


def in_words(savings: Savings) -> str:
    """Return savings as a sentence.

    >>> parts = dict(uncut_s=8000.0, steps_s=2520.0, cutting_s=60.0)
    >>> saved = Savings(net_s=2460.0, share=0.31, to_come_s=1320.0, **parts)
    >>> in_words(saved)
    'saved 41 min 00 s (31 %) against uncut so far, 22 min 00 s more to come'
    >>> in_words({**saved, "net_s": -180.0, "share": -0.04, "to_come_s": 0.0})
    'cost 3 min 00 s more (4 %) than uncut so far'
    >>> in_words({**saved, "net_s": -180.0, "share": -0.04})
    'cost 3 min 00 s more (4 %) than uncut so far, 22 min 00 s to be saved until the end'
    """
    amount, share = figures.duration(abs(savings["net_s"])), figures.percent(abs(savings["share"]), 0)
    saved = f"saved {amount} ({share}) against uncut so far"
    lost = f"cost {amount} more ({share}) than uncut so far"
    so_far = lost if savings["net_s"] < 0 else saved
    return ", ".join(filter(None, (so_far, to_come(savings["to_come_s"], savings["net_s"]))))


def signed(savings: Savings) -> tuple[str, str]:
    """Return what was saved, and what is to come, with a minus sign where it is lost.

    >>> parts = dict(uncut_s=30.0, steps_s=1.8, cutting_s=3.8)
    >>> signed(Savings(net_s=-2.0, share=-0.07, to_come_s=11.0, **parts))
    ('−2.0 s (−7 %)', '+11 s to come')
    >>> signed(Savings(net_s=2460.0, share=0.31, to_come_s=-11.0, **parts))
    ('41 min 00 s (31 %)', '−11 s to come')
    """
    net, rest = savings["net_s"], savings["to_come_s"]
    amount = f"{'−' if net < 0 else ''}{figures.duration(abs(net))} ({figures.percent(savings['share'], 0)})"
    return amount, f"{'−' if rest < 0 else '+'}{figures.duration(abs(rest))} to come"


def to_come(seconds: float, so_far: float) -> str:
    """Return what is left to be saved, or to be lost; empty where that is next to nothing.

    "More" only of what goes on as it was so far: after a loss it would be more loss.
    """
    if abs(seconds) < 0.5:
        return ""
    amount = figures.duration(abs(seconds))
    if seconds > 0 and so_far >= 0:
        return f"{amount} more to come"
    return f"{amount} to be {'saved' if seconds > 0 else 'lost'} until the end"


def energy_in_words(energy_j: float, train_s: float | None, savings: Savings | None) -> str:
    """Return the energy of training, and what cuts made of it at the power that it took.

    >>> energy_in_words(7200.0, 100.0, None)
    '2 Wh'
    >>> parts = dict(share=0.3, uncut_s=160.0, steps_s=60.0, cutting_s=10.0, to_come_s=0.0)
    >>> energy_in_words(7200.0, 100.0, Savings(net_s=50.0, **parts))
    '2 Wh, about 1 Wh less than uncut'
    """
    said = f"{figures.significant(energy_j / 3600, 3)} Wh"
    if not (savings and train_s):
        return said
    less = energy_j / 3600 * savings["net_s"] / train_s
    return (
        f"{said}, about {figures.significant(abs(less), 2)} Wh {'less' if less >= 0 else 'more'} than uncut"
    )


def parts_in_words(savings: Savings) -> str:
    """Return of what a net saving is made: for steps, and for the cuts themselves."""
    less = "less" if savings["steps_s"] >= 0 else "more"
    steps, cutting = (figures.duration(abs(savings[key])) for key in ("steps_s", "cutting_s"))
    return f"{steps} {less} for steps, {cutting} spent on cuts"
