"""What the words mean, what each figure says and what it does not; the documents of the project."""

import re
from importlib import resources

import streamlit as st

from hankelboard.app.words.labels import ROLES
from hankelboard.settings.families import FAMILIES, importances
from hankelboard.settings.importances import HSV
from hankelboard.settings.tasks import TASKS

DOCS = resources.files("hankelboard") / "docs"
DOCUMENTS = {
    "NUMERICS.md": "The mathematics: every formula, where it comes from, what it does not promise",
    "FORMAT.md": "What a run directory holds",
    "ARCHITECTURE.md": "How Hankelboard is built",
    "FAMILIES.md": "What a state is in each family, and what a cut does to it",
}
LOCAL_LINK = re.compile(r"!?\[([^][]*)\]\((?![a-z]+:)[^)]*\)")
"""A link to another file of the project: a page shows its words, since no address leads there."""
TERMS = {
    "The model": {
        "state dimension N": "How many internal states a layer has now. A state-space layer keeps what it "
        "remembers of a sequence in them; its cost grows with their number.",
        "rank r": "How many states a layer would have after a proposed cut.",
        "Hankel singular value σ": "How much one state carries from past inputs to future outputs. Computed "
        "from the layer's weights alone, no data is looked at. Large: the layer uses this state. Near 0: "
        "removing it changes next to nothing of what the layer does to any input.",
        "spectrum": "The Hankel singular values of a layer, or its family's other importances, the largest "
        "first. A steep one can be cut far, a "
        "flat one cannot.",
        "branch": "One path of weights. Going back to a checkpoint starts a new branch; nothing is deleted.",
        "checkpoint": "All that training needs to go on exactly from there. A pinned one is never removed; "
        "those before and after a cut are pinned.",
    },
    "The state of a run": {
        "queued": "It waits for a worker (`hankelboard worker`), or for another run that it needs.",
        "not queued": "No worker takes it: it was made for `hankelboard run`.",
        "waiting for you": "Training stands still until somebody decides on a proposal.",
        "interrupted": "Its process was asked to end and saved first, or it died. A worker resumes it.",
        "process gone": "Its process ended without a word: killed, or the machine went down. A worker "
        "resumes it from the newest checkpoint; what came after that is trained again, and a proposal keeps "
        "its decision.",
        "no sign of life": "It has not said anything for longer than it promised. It may be busy, asleep, or "
        "on a machine that this page cannot see.",
        "released: waits for a decision": "Its proposal waits for somebody, and it gave its machine back "
        "meanwhile. A worker goes on with it when it is decided.",
        "unknown": "There is no status that can be read: whether a process trains it is not known.",
        "stopped": "Somebody ended it. It can be resumed, but nothing resumes it by itself.",
        "loss not finite": "The training loss became infinite or no number (NaN). The run goes on to its "
        "end, but what it learns from there is worthless unless it is rolled back.",
    },
    "A cut": {
        "importance": "What a layer's states are ordered by when it is cut. It differs by family, and every "
        "proposal names its own.",
        **{f"{one.title}, an importance": one.meaning for one in importances().values() if one != HSV},
        "tolerance τ": "The share of the summed importances (Σσ, Σσ² or an energy, as the proposal says) "
        "that a cut may discard in each layer. It is no error in percent: the output may change by less, "
        "or by more.",
        "discarded share": "The importances that a rank leaves out, divided by the sum of all.",
        "error bound": "Twice the sum of the discarded σ, for families that have it (linear time-invariant "
        "layers). It promises that no input, however chosen, makes the "
        "linear part of this one layer err by more (ratio of energies). It says nothing about the loss, and "
        "it is often many times larger than the error that is measured.",
        "flat spectrum": "Nearly all states matter about equally, so that every removed state costs its "
        "share. Then the badge advises against the cut. Associative recall has flat spectra: its states hold "
        "one pair of key and value each.",
        "H∞": "The largest gain over all frequencies: how much a layer amplifies the input that suits it "
        "best.",
        "condition of the write-back": "How far rounding may grow when the cut layer is written back into "
        "its own form: 1 is best, a million loses six digits.",
        "vacuous": "A bound above the layer's own largest gain: it holds, but promises nothing.",
        "gate": "A layer is only cut when that removes enough of its states to be worth it.",
        "balanced truncation": "The way of cutting: change to coordinates in which every state is as easy to "
        "reach as it is to see, and keep the strongest. The layer is written back into its own form.",
        "null rank": "The rank that the same rule leaves of layers that were never trained. A proposal "
        "near it says "
        "something about how layers are initialised, not about what this one learned.",
        "badge": "Advice about a proposal with its reasons. Its colour follows how far the output of each "
        "layer changes, by limits that stand beside it, and what else speaks against the cut. What was not "
        "measured is never green. No policy looks at it.",
        "expired, superseded": "Nobody decided in time; or the proposal was overtaken, by a rollback for "
        "example.",
    },
    "Measured figures": {
        "95 % interval": "Paired bootstrap over validation sequences: how far chance in the choice of "
        "sequences "
        "could move the change that was measured. Where 0 lies inside, no change was shown.",
        "output change": "How far a layer's output differs when it alone is cut and is fed what the uncut "
        "network gives it, relative to what its states put out. Measured on calibration sequences that were "
        "held out: no choice of states was fitted to them. It says better than a share what a cut costs.",
        "divergence of predictions": "Mean Kullback-Leibler divergence of the class probabilities, cut "
        "against uncut, "
        "in nats. It sees changes that accuracy does not.",
        "frequency response": "How strongly a layer passes on each frequency, from the slowest (0) to the "
        "fastest (π radians per step); the difference curve shows where a cut errs.",
        "training seconds": "Seconds spent on training steps: waiting, pausing and measuring excluded.",
        "bits per character": "The loss of a language model on a text, in bits: 1 bit is as uncertain as a "
        "coin. The perplexity per character is 2 to that power.",
        "best": "The largest validation accuracy on the live path, with its step. Test data is used once, "
        "at the end.",
    },
    "Is it too early to cut?": {
        "regret": "What a cut made at an earlier step would lose of the final layer beyond what the best "
        "cut to as many states loses, as a share of the sum of σ. Beside it: the same for the orthogonal "
        "projection onto the subspace, for a cut at the start, and for states drawn by lot.",
        "knee": "The first step from which on regret stays below a tenth of the tolerance. Attempts "
        "before it may keep other states than training will need. The default window, the first 10 % "
        "of the steps, was published for longer runs; on tones the knee lies later (docs/NUMERICS.md).",
        "canonical scale": "A mode may be scaled in B and back in C without a change of the layer. Regret, "
        "overlap and order are computed with both of one size, so that they depend on the layer alone.",
        "overlap": "How much of the subspace kept at one snapshot is kept at the next: 1 all of it, 0 "
        "nothing. Two subspaces of r of N states drawn by lot have r / N.",
        "Kendall τ": "Whether matched directions keep their order of strength: 1 all do, 0 is chance, "
        "−1 it is reversed.",
        "Weyl's bound": "No σ can have moved by more than this between two snapshots, whatever training did.",
    },
    "Families of layers": {
        row.title: f"{row.description} (`model.family = {name}`)" for name, row in FAMILIES.items()
    },
    "Tasks": {row.title: f"{row.description} (`data.task = {name}`)" for name, row in TASKS.items()},
    "Deciding": {
        "ask": "A person decides on every proposal; training waits, or goes on, as the run is set.",
        "auto": "The rule approves what lies within the tolerance.",
        "pragmatic": "A fixed share is cut each time and undone by itself when validation falls too far.",
        "keep": "Proposals are measured and rejected: nothing is cut.",
    },
    "A comparison": {
        "series": "Runs that differ in their seed alone.",
        "suite": "A list of series with their seeds and what they need of each other: the full model, cut "
        "ones, and everything they should be better than. It can be stopped and goes on where it was.",
        "role": "What a run is for: " + ", ".join(f"{role} ({what})" for role, what in ROLES.items()) + ".",
        "paired": "The difference is taken seed by seed before it is averaged: what two runs of one seed "
        "share drops out.",
        "interval": "95 %, by Student's t over seeds. Below three seeds there is none: nothing is claimed.",
        "with what it builds on": "Seconds of training that include the run whose weights a run started "
        "from, or its teacher.",
    },
}  # fmt: skip


def page() -> None:
    st.title("Glossary", anchor=False)
    text = st.text_input("Search", key="term", placeholder="regret, bound, tolerance", bind="query-params",
                         icon=":material/search:", width=320)  # fmt: skip
    query = (text or "").lower()
    matches = 0
    for part, terms in TERMS.items():
        shown = {word: meaning for word, meaning in terms.items() if query in f"{word} {meaning}".lower()}
        matches += len(shown)
        if shown:
            st.subheader(part, anchor=False)
            st.markdown("\n\n".join(f"**{word}.** {meaning}" for word, meaning in shown.items()))
    if not matches:
        st.caption("No term fits the search.")
    documents()


def documents() -> None:
    """Show the project's documents."""
    st.subheader("Documents", anchor=False)
    for name, what in DOCUMENTS.items():
        with st.expander(
            f"{what} (docs/{name})", key=f"doc_{name.partition('.')[0]}", on_change="rerun"
        ) as part:
            if part.open:
                st.markdown(LOCAL_LINK.sub(r"\1", (DOCS / name).read_text(encoding="utf-8")))


page()
