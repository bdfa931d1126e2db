"""All runs: what waits for a decision first, then everything, to search and to open."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import installation, runs
from hankelboard.app.data.run_cache import RunRow
from hankelboard.app.live.pulse import live_region
from hankelboard.app.panels import frame, rights
from hankelboard.app.words import labels
from hankelboard.comparison.tables import counted
from hankelboard.storage import savings
from hankelboard.storage.layout import runs_directory
from hankelboard.storage.scores import PRIMARY_METRIC, bits
from hankelboard.storage.vocabulary import ENDED, Role, RunState

ALIVE = "running or waiting"
BANNERS = 8
ENDED_FOR_GOOD = tuple(state for state in ENDED if state != RunState.INTERRUPTED)
LOOK_S = 1.0
"""Seconds for which the page reads new runs; the rest comes at the next ticks."""
ROWS = 200
"""Rows of one page of the table: each is drawn and may travel again whenever a run changes."""
BITS_COLUMN = "Bits/char"
OPTIONAL = ("vs baseline", BITS_COLUMN, "ETA", "Steps/s")
"""Columns that take no room while no run fills them."""
TROUBLE = (RunState.FAILED, RunState.DEAD, RunState.STALE, RunState.UNREADABLE)
TROUBLE_HELP = "Failed, process gone, no sign of life, unreadable, or its training loss is no finite number"
SHOWN = ("all", ALIVE, "ended", "archived")


@live_region(min_ms=1000)
def live() -> None:
    rows, unread = runs.rows_within(LOOK_S)
    if st.session_state.pop("open_run", None):
        st.switch_page("views/run.py", query_params={"run": st.session_state["run"]})
    if unread:
        st.caption(f":material/hourglass_top: {unread:,} more runs are being read, the newest first.")
    if not rows and not unread:
        explain_empty()
    elif rows:
        pending(rows)
        figures(rows)
        if not installation.is_writable():
            st.info(labels.READ_ONLY, icon=":material/lock:")
        elif not runs.workers() and any(map(wants_worker, rows)):
            st.info(f"Runs wait to be trained. {labels.WORKER_HINT}", icon=":material/info:")
        explain_left_alone(rows)
        tables(filtered(rows), rows)


def wants_worker(row: RunRow) -> bool:
    """Return whether a worker would take it: copies and runs that were not queued are left alone."""
    state = row["state"]
    waiting = state in (RunState.DEAD, RunState.INTERRUPTED) or (state == RunState.QUEUED and row["queued"])
    return waiting and not any(row[key] for key in ("copy_of", "archived", "held", "not_adopted"))


def explain_left_alone(rows: Sequence[RunRow]) -> None:
    """Say of how many runs nothing will happen, since they came from elsewhere."""
    count = sum(bool(row["not_adopted"]) and not row["archived"] for row in rows)
    if count:
        st.info(
            f"Not adopted: {counted(count, 'run')} from elsewhere, or from before. No worker starts what is "
            "not adopted: open it to do so; `hankelboard adopt --all` adopts all.",
            icon=":material/move_to_inbox:",
        )


def pending(rows: Sequence[RunRow]) -> None:
    """Show what waits for a person, first of all."""
    waiting = [row for row in rows if waits(row) and not row["archived"]]
    for row in waiting[:BANNERS]:
        if row["held"]:
            frame.held_banner(row)
        else:
            frame.pending_banner(row)
    if len(waiting) > BANNERS:
        st.caption(f"{len(waiting) - BANNERS} more runs wait for you: they stand first in the list.")


def waits(row: RunRow) -> bool:
    """Return whether a person must act: resume it, or decide on a proposal of a run that lives or will."""
    return bool(row["held"]) or _waits_for_decision(row)


def _waits_for_decision(row: RunRow) -> bool:
    return row["pending_proposal"] is not None and row["state"] not in ENDED_FOR_GOOD


def is_in_trouble(row: RunRow) -> bool:
    return row["state"] in TROUBLE or row["loss_lost_at"] is not None


def explain_empty() -> None:
    with st.container(border=True, key="empty"):
        st.subheader("No runs yet", anchor=False)
        st.markdown(
            "Start with the demo, three runs on embedded data, or queue one run and a worker to train it:"
        )
        st.code(
            "hankelboard demo\n\nhankelboard new --preset digits-lru\nhankelboard worker", language="bash"
        )
        if rights.offered(Action.QUEUE_PRESET):
            st.page_link("views/new_run.py", label="Queue a run here", icon=":material/add:")
        st.caption(f"Folder of runs: {labels.plain(runs_directory().resolve())}")


def figures(rows: Sequence[RunRow]) -> None:
    rows = [row for row in rows if not row["archived"]]
    living = sum(row["state"] in (RunState.RUNNING, RunState.STARTING, RunState.STOPPING) for row in rows)
    waiting = sum(map(waits, rows))
    queued = sum(row["state"] == RunState.QUEUED and row["queued"] and not row["not_adopted"] for row in rows)
    trouble = sum(map(is_in_trouble, rows))
    with st.grid(4, min_column_width=130, gap="small"):
        st.metric("Running", living, border=True)
        st.metric("Waiting for you", waiting, border=True)
        st.metric("Queued", queued, border=True)
        st.metric("In trouble", trouble, border=True, help=TROUBLE_HELP)
    saved = savings.total([row["savings"] for row in rows])
    if saved:
        st.caption(f":material/content_cut: Cuts {savings.in_words(saved)}: {savings.parts_in_words(saved)}.")


def filtered(rows: Sequence[RunRow]) -> list[RunRow]:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search", key="q", placeholder="name, id, group, tag, task", bind="query-params", width=280,
            icon=":material/search:",
        )  # fmt: skip
        shown = st.segmented_control(
            "Show", SHOWN, default="all", key="show", required=True, bind="query-params"
        )
        sort = st.selectbox("Sort by", list(SORTS), key="sort", bind="query-params", width=190)
        groups = sorted({row["group"] for row in rows if row["group"]})
        group = ""
        if len(groups) > 1:
            group = st.selectbox("Group", ["", *groups], key="group", bind="query-params", width=190,
                                 format_func=lambda name: name or "all groups")  # fmt: skip
        st.toggle("One table per group", key="grouped", bind="query-params")
    searched = (text or "").lower().split()
    rows = [row for row in rows if not group or row["group"] == group]
    rows = sorted(rows, key=SORTS[sort])  # stable: the newest first within each
    return [row for row in rows if _is_shown(row, shown) and all(word in _haystack(row) for word in searched)]


def _urgency(row: RunRow) -> int:
    """Return an order: what waits for a person first, then what lives, then the rest."""
    if waits(row):
        return 0
    return 1 if row["living"] else 2


def _best_accuracy(row: RunRow) -> float | None:
    best = row["best"]
    return best["value"] if best and best["metric"] == PRIMARY_METRIC else None


SORTS: dict[str, Callable[[RunRow], Any]] = {
    "what waits first": _urgency,
    "newest": lambda row: 0,
    "best accuracy": lambda row: -(_best_accuracy(row) or 0.0),
    "fewest states": lambda row: sum(row["state_dims"]) or float("inf"),
    "name": lambda row: row["name"].lower(),
}


def _is_shown(row: RunRow, shown: str | None) -> bool:
    if shown == "archived":
        return bool(row["archived"])
    ended = row["state"] in (*ENDED, RunState.UNREADABLE) and not waits(row)
    return not row["archived"] and (shown in (None, "all") or (shown == "ended") == ended)


def _haystack(row: RunRow) -> str:
    parts = [row[key] for key in ("name", "run", "group", "role", "preset", "state")]
    return " ".join([*parts, *row["tags"]]).lower()


def tables(shown: Sequence[RunRow], rows: Sequence[RunRow]) -> None:
    """Draw one table, or one per group with its baselines first, and links for the ticked rows."""
    if not shown:
        st.caption("No run fits the search.")
        return
    fitting = len(shown)
    shown = page_of(shown)
    baselines = baseline_accuracies(rows)
    selected: list[str] = []
    if st.session_state.get("grouped"):
        for group in dict.fromkeys(row["group"] for row in shown):
            members = [row for row in shown if row["group"] == group]
            st.subheader(labels.plain(group or "in no group"), anchor=False)
            selected += table(sorted(members, key=lambda row: row["role"] != Role.BASELINE), baselines)
    else:
        selected = table(shown, baselines)
    st.caption(f"{fitting} of {len(rows)} runs. Click a name to open the run; tick rows (Shift + Space) to "
               "open or compare them.")  # fmt: skip
    links(selected)


def page_of(shown: Sequence[RunRow]) -> Sequence[RunRow]:
    """Return the rows of the chosen page; all of them where they fit on one."""
    pages = -(-len(shown) // ROWS)
    if pages < 2:
        return shown
    number = st.pagination(pages, key=f"page_of_{pages}")
    return shown[(number - 1) * ROWS : number * ROWS]


def links(selected: Sequence[str]) -> None:
    """Draw links for the ticked rows: keys reach ticks (Shift + Space), but not the buttons in a table."""
    if len(selected) == 1:
        name = labels.plain(runs.summary(selected[0])["name"])
        st.page_link("views/run.py", label=f"Open {name}", icon=":material/monitoring:",
                     query_params={"run": selected[0]})  # fmt: skip
    if len(selected) > 1:
        label = f"Compare {len(selected)} runs"
        st.page_link("views/compare.py", label=label, icon=":material/compare_arrows:",
                     query_params={"runs": ",".join(selected)})  # fmt: skip


def table(shown: Sequence[RunRow], baselines: Mapping[tuple[str, str], float]) -> list[str]:
    """Draw the runs as a table and return the ids of the ticked ones.

    Streamlit ticks by place: the key names the runs in their order, so that another order ticks nothing
    instead of other runs.
    """
    run_ids = [row["run"] for row in shown]
    order = hashlib.blake2s(" ".join(run_ids).encode(), digest_size=8).hexdigest()
    columns = pd.DataFrame([table_row(row, baselines) for row in shown])
    columns = columns.drop(columns=[name for name in OPTIONAL if not has_values(columns[name])])
    config = st.column_config
    ticked = st.dataframe(
        columns,
        hide_index=True,
        key=f"runs_table_{order}",
        placeholder="",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Run": config.ButtonColumn(
                key=f"clicked_run_{order}", type="tertiary", alignment="left", pinned=True, width=200,
                on_click=remember_click, args=(run_ids, f"clicked_run_{order}"), help="Opens the run",
            ),
            "State": config.TextColumn(width=175),
            "ETA": config.TextColumn(width=90, help="Training time that is left at the speed of now"),
            "Progress": config.ProgressColumn(format="%d%%", min_value=0, max_value=100, width="small"),
            "Accuracy": config.LineChartColumn(help="Validation accuracy over the run", width="small"),
            "Best": config.NumberColumn(
                format="%.2f %%", width=80,
                help="In percent: best on validation, live path; it may be from before a cut",
            ),
            BITS_COLUMN: config.NumberColumn(format="%.3f", help="Bits per character at that step, of texts"),
            "vs baseline": config.TextColumn(
                width=110, help="Difference to the newest baseline of the same group"
            ),
            "N → now": config.TextColumn(width=125, help="State dimension per layer at the start and now"),
            "Steps/s": config.NumberColumn(format="%.1f"),
            "Tags": config.ListColumn(help="Set them on the page of the run, under More"),
        },
        alt="Runs with their state, progress and accuracy",
    )  # fmt: skip
    return [run_ids[place] for place in ticked["selection"]["rows"] if place < len(run_ids)]


def has_values(column: pd.Series) -> bool:
    """Return whether any row fills this column."""
    return bool((column.notna() & (column != "")).any())


def remember_click(run_ids: Sequence[str], key: str) -> None:
    row = st.session_state[key]["row"]
    st.session_state["run"] = run_ids[row]
    st.session_state["open_run"] = True


def table_row(row: RunRow, baselines: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    value = _best_accuracy(row)
    baseline = None if row["role"] == Role.BASELINE else baselines.get((row["group"], row["task"]))
    difference = "" if value is None or baseline is None else labels.points(value - baseline)
    return {
        "Run": row["name"],
        "State": state_words(row),
        "Progress": min(100, 100 * row["step"] // row["total_steps"]) if row["total_steps"] else None,
        "N → now": labels.change(row["initial_state_dims"], row["state_dims"]) if row["state_dims"] else "",
        "Accuracy": runs.sparkline(row["run"]),
        "Best": None if value is None else 100 * value,
        BITS_COLUMN: bits(row["best"]),
        "vs baseline": difference,
        "Seed": row["seed"],
        "Role": row["role"],
        "Task": row["task"],
        "ETA": labels.duration(row["eta_s"]) if row["eta_s"] and row["state"] == RunState.RUNNING else "",
        "Steps/s": row["steps_per_s"] if row["state"] == RunState.RUNNING else None,
        "Started": labels.age(row["created"]),
        "Group": row["group"],
        "Tags": row["tags"],
        "Id": row["run"],
    }


def state_words(row: RunRow) -> str:
    """Return the state in words, with what must not be overlooked."""
    words = [labels.state(row)[0]]
    if row["not_adopted"]:
        words = ["not adopted" if frame.is_left_alone(row) else f"{words[0]}, not adopted"]
    if row["state"] == RunState.QUEUED and row["reason"]:
        words[0] += ", needs another run"
    if row["pending_proposal"] is not None and row["state"] != RunState.WAITING_FOR_DECISION:
        words.append("proposal")
    if row["loss_lost_at"] is not None:
        words.append("loss not finite")
    return " · ".join(words)


def baseline_accuracies(rows: Sequence[RunRow]) -> dict[tuple[str, str], float]:
    """Return the best accuracy of the newest baseline of each (group, task)."""
    accuracies: dict[tuple[str, str], float] = {}
    for row in rows:
        value = _best_accuracy(row)
        if row["role"] == Role.BASELINE and value is not None:
            accuracies.setdefault((row["group"], row["task"]), value)
    return accuracies


frame.say_now()
st.title("Runs", anchor=False)
live()
