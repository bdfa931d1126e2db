"""Queue a run (a preset, what differs from it, and the command line that does the same) or a suite."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from hankelboard.access.roles import Action
from hankelboard.app.data import command_line, installation, runs
from hankelboard.app.data.command_line import CreationRefused
from hankelboard.app.live.pulse import live_region
from hankelboard.app.live.watch import HEARTBEAT, LOG, METRICS, SPECTRA
from hankelboard.app.panels import frame, rights, suite_form, worth
from hankelboard.app.words import labels
from hankelboard.settings.config import Config
from hankelboard.settings.new_run import NewRun
from hankelboard.settings.preset import Preset, presets
from hankelboard.settings.setting import describe_fields, limit_problem
from hankelboard.storage.commands import POLICIES

MAIN = (
    "training.steps", "training.seed", "training.learning_rate", "model.layers", "model.width",
    "model.state_dim", "reduction.tolerance", "reduction.attempts", "reduction.window", "reduction.waiting",
)  # fmt: skip
KINDS = ("One run", "A suite")
DEFAULT_PRESET = "digits-lru"
ELSEWHERE = ("reduction.policy",)
SECTIONS = {
    "model": "Model",
    "data": "Data",
    "training": "Training",
    "reduction": "Reduction",
    "start": "Start from another run's weights",
    "distillation": "Distillation",
    "regularisation": "Regularisation",
    "output": "Output",
}


@live_region(ignore=(HEARTBEAT, METRICS, LOG, SPECTRA))
def notice() -> None:
    """Say why nothing can be queued, or would not be trained."""
    if not rights.offered(Action.QUEUE_PRESET):
        rights.say_why_not()
    elif not installation.is_writable():
        st.info(labels.READ_ONLY, icon=":material/lock:")
    elif not runs.workers():
        st.info(f"{labels.WORKER_HINT} Until then runs stay queued.", icon=":material/info:")


def page() -> None:
    st.title("New run", anchor=False)
    notice()
    what = st.segmented_control(
        "What", KINDS, default=KINDS[0], key="kind", required=True, bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    if what == KINDS[1]:
        suite_form.form()
        return
    chosen, problems = form(presets())
    st.markdown("**The same at the command line**")
    st.code(command_line.shown(chosen.arguments()), language="bash", wrap_lines=True)
    why_not = "Correct the marked fields first" if problems else ""
    why_not = why_not if installation.is_writable() else labels.READ_ONLY
    if rights.offered(Action.QUEUE_PRESET):
        st.button("Queue the run", key="create", type="primary", icon=":material/add:",
                  disabled=bool(why_not), on_click=create, args=(chosen,), help=why_not or None)  # fmt: skip
    refusal = st.session_state.get("refusal")
    if refusal:
        st.error(labels.plain(refusal), icon=":material/block:")
    done = st.session_state.get("created")
    if done:
        with st.container(border=True, key="created"):
            st.markdown(f":green[:material/check_circle:] Queued as {labels.plain(done)}.")
            st.page_link("views/run.py", label="Open the run", icon=":material/monitoring:",
                         query_params={"run": done})  # fmt: skip
    worth.offer(chosen, "Correct the marked fields first" if problems else "")


def form(presets: Mapping[str, Preset]) -> tuple[NewRun, list[str]]:
    """Show the form; return the choices and the keys that are wrong."""
    with st.container(border=True, key="what"):
        name = st.selectbox("Preset", list(presets), key="preset", index=default_preset(presets),
                            bind="query-params", on_change=forget_answers)  # fmt: skip
        preset = presets[name]
        kind = f"Model {preset.family}, task {preset.task}, role {preset.role}."
        st.caption(labels.plain(f"{preset.description}. {kind}"))
        preset_policy = preset.config.reduction.policy
        policy = st.segmented_control(
            "Who decides on cuts", POLICIES, default=preset_policy, key=f"policy-{name}", required=True,
            on_change=forget_answers,
        )  # fmt: skip
        st.caption(labels.plain(labels.POLICIES.get(policy or "", "")))
        with st.grid(2, min_column_width=240):
            title = st.text_input("Name", key=f"name-{name}", placeholder=name, max_chars=100)
            group = st.text_input("Group", key="group", placeholder="runs that belong together", max_chars=60)
    changed, problems = settings(name, preset.config.as_dict(), describe_fields(Config()))
    chosen = NewRun(
        preset=name,
        assignments=command_line.assignments(changed),
        policy=policy if policy and policy != preset_policy else "",
        name=title.strip(),
        group=group.strip(),
    )
    return chosen, problems


def default_preset(presets: Mapping[str, Preset]) -> int:
    """Return the place of a preset that compresses on embedded data: the purpose of the dashboard."""
    return list(presets).index(DEFAULT_PRESET) if DEFAULT_PRESET in presets else 0


def settings(
    preset: str, config: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[str]]:
    """Show all settings, the usual ones first; return what differs from the preset, and the wrong keys."""
    changed: dict[str, Any] = {}
    problems: list[str] = []
    hidden = ELSEWHERE if rights.offered(Action.RUN_OWN_CODE) else (*ELSEWHERE, *command_line.FOLDERS)
    shown = [field for field in fields if field["key"] not in hidden]
    main = sorted((f for f in shown if f["key"] in MAIN), key=lambda f: MAIN.index(f["key"]))
    with st.container(border=True, key="settings"), st.grid(2, min_column_width=240):
        for field in main:
            take(field, preset, config, changed, problems)
    for section, title in SECTIONS.items():
        rest = [f for f in shown if f["key"].startswith(f"{section}.") and f["key"] not in MAIN]
        if rest:
            with st.expander(f"More: {title}", key=f"more_{section}"), st.grid(2, min_column_width=240):
                for field in rest:
                    take(field, preset, config, changed, problems)
    return changed, problems


def take(
    field: Mapping[str, Any],
    preset: str,
    config: Mapping[str, Any],
    changed: dict[str, Any],
    problems: list[str],
) -> None:
    """Show one field: widget, help, and what is wrong with it right below; note its value."""
    section, _, name = field["key"].partition(".")
    default = config.get(section, {}).get(name, field["default"])
    with st.container(gap="xxsmall", key=f"field_{section}_{name}"):
        value, problem = ask(field, f"{field['key']}-{preset}", default)
        refused = st.session_state.get("refused_key") == field["key"]
        problem = problem or (st.session_state.get("refusal", "") if refused else "")
        if problem:
            st.markdown(f":red[:material/error: {labels.plain(problem)}]")
        else:
            st.caption(labels.plain(field["help"]))
    if problem and not refused:
        problems.append(field["key"])
    elif value != default:
        changed[field["key"]] = value


def ask(field: Mapping[str, Any], key: str, default: Any) -> tuple[Any, str]:
    """Show the widget that fits the type (text where a number may be a list); return value and problem."""
    label, kind = field["key"], field["type"]
    if field["choices"]:
        return st.selectbox(label, field["choices"], index=field["choices"].index(default), key=key,
                            on_change=forget_answers), ""  # fmt: skip
    if kind == "bool":
        return st.toggle(label, value=default, key=key, on_change=forget_answers), ""
    text = st.text_input(label, value=command_line.written(default), key=key, on_change=forget_answers)
    return parse(text.strip(), field, default)


def parse(text: str, field: Mapping[str, Any], default: Any) -> tuple[Any, str]:
    """Return text as the field's type, and what is wrong with it. The trainer checks the rest."""
    kind = field["type"]
    if kind in ("int", "float"):
        try:
            value = int(text) if kind == "int" else float(text)
        except ValueError:
            return (
                default,
                f"{text or 'nothing'}: must be {'a whole number' if kind == 'int' else 'a number'}",
            )
        return (value if value != default else default), limit_problem(value, field)
    return (default if text == command_line.written(default) else text), ""


def forget_answers() -> None:
    for key in ("refusal", "refused_key", "created"):
        st.session_state.pop(key, None)


def create(chosen: NewRun) -> None:
    """Queue the run (a callback); a refusal is shown beside the field that it names."""
    forget_answers()
    try:
        st.session_state["created"] = command_line.create(chosen)
    except CreationRefused as error:
        st.session_state["refusal"] = str(error)
        words_ = str(error).replace(":", " ").split()
        st.session_state["refused_key"] = next((word for word in words_ if "." in word), "")


frame.say_now()
page()
