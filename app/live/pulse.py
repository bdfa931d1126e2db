"""Live regions of a page: drawn again when the server says `changed`, and never while a person acts.

Streamlit drops what it has not sent of a run when the next run of the same fragment begins. A refresh just
behind a click would so swallow what the click shows: a dialog, a slider's new place. So refreshes come from
one place, an invisible component in the browser, and it waits: while the page runs, while a pointer is
pressed, and after a click or key until the page has answered (PATIENCE_MS at most: some have no answer).
Where a refresh and a click in a dialog come at once all the same, Streamlit runs the region but not the
dialog: what a dialog's buttons do stands in callbacks.
It is mounted inside the fragment that it keeps alive, so a tick costs one run of that fragment, and cannot
interrupt an action of the page. All that a fragment draws is sent again, changed or not: so a page has a few
regions, each of what changes together, and they take turns.
"""

import functools
import re
from collections.abc import Callable
from urllib.parse import urlencode

import streamlit as st

from hankelboard.access.roles import Action, may
from hankelboard.app.data.visitors import visitor

MIN_MS = 500
FALLBACK_MS = 10_000
"""How often a live region is drawn again when no push comes."""
RARELY_MS = 60_000
"""The same for a region that shows nothing of what it ignores."""
PATIENCE_MS = 3_000
SILENT = "Nothing says here when a run changes: this page looks again by itself, every 10 s or more."
_JS = """
const ACTS = ["pointerdown", "pointerup", "pointercancel", "keydown", "change"];
const CONNECTION = "data-test-connection-state";
const BUSY = ["running", "rerunRequested", "stopRequested"];
const SILENT = "hankelboard-silent";
const live = new WeakMap();
let fired = -Infinity;  // when any region of the page did: the page is not seen to run at once

function begin(data) {
  const app = document.querySelector("[data-testid=stApp]");
  const busy = () => BUSY.includes(app?.dataset.testScriptState);
  const state = {fire: null, data};
  let due = false, last = 0, timer = null, pressed = false, acted = -Infinity, answering = false;
  let socket = null, lost = false, ended = false, failed = 0;

  // A press that never ends (let go outside of the window) holds ticks ten times as long, not for ever.
  const mayTick = (now) => !busy() && now - acted > state.data.patience_ms * (pressed ? 10 : 1);
  const look = () => {
    timer = null;
    if (!due || document.hidden || ended) return;
    const now = performance.now();
    const soonest = last + state.data.min_ms;
    if (now < soonest) { later(soonest - now); return; }
    if (now - fired < 100 || !mayTick(now)) { later(50); return; }
    due = false;
    last = fired = now;
    state.fire("tick", Date.now());
  };
  const later = (ms) => { if (timer === null) timer = setTimeout(look, ms); };
  const tick = () => { due = true; later(0); };
  state.again = () => { clearTimeout(timer); timer = null; later(0); };  // what waits may wait less now

  const act = (event) => {
    pressed = event.type === "pointerdown" || (pressed && event.type === "keydown");
    acted = performance.now();
    answering = false;
  };
  ACTS.forEach((name) => document.addEventListener(name, act, true));
  const watching = new MutationObserver((changes) => {
    if (changes.some((change) => change.attributeName === CONNECTION)) leave();
    if (busy()) answering = true;
    else if (answering) { answering = false; acted = -Infinity; }
    else if (acted > 0) acted = performance.now();  // what ended began before the act: the answer comes now
  });
  if (app) watching.observe(app, {attributes: true, attributeFilter: ["data-test-script-state", CONNECTION]});

  // Who was signed out sees the page that asks for a token, not one that stands still.
  const leave = () => {
    if (app?.dataset.testConnectionState === "CONNECTED" && !lost) return;
    const asked = fetch(location.href, {method: "HEAD"});
    asked.then((answer) => { if (answer.status === 401) location.reload(); }, () => {});
  };

  const open = () => {
    const address = new URL(data.path, location.href);  // a proxy may show the pages below a path
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.onmessage = tick;
    socket.onopen = () => { failed = 0; say(""); if (lost) { lost = false; tick(); } };
    socket.onclose = () => {
      lost = true;
      if (ended) return;
      leave();
      if (++failed === 3) say(data.silent);
      setTimeout(open, Math.min(1500 * 2 ** (failed - 1), 30000));
    };
  };
  const say = (text) => {
    let note = document.getElementById(SILENT);
    if (!text) { note?.remove(); return; }
    if (!note) { note = document.createElement("div"); note.id = SILENT; note.role = "status"; }
    note.textContent = text;
    note.style.cssText = "position:fixed;right:1rem;bottom:1rem;z-index:99;padding:.3rem .7rem;" +
      "font-size:13px;border-radius:8px;background:#1e293b;color:#f1f5f9";
    document.body.append(note);
  };
  open();
  document.addEventListener("visibilitychange", look);
  const fallback = setInterval(tick, data.fallback_ms);
  const first = setTimeout(tick, data.first_ms);  // what changed before the socket was open

  state.end = () => {
    ended = true;
    socket.close();
    watching.disconnect();
    document.removeEventListener("visibilitychange", look);
    ACTS.forEach((name) => document.removeEventListener(name, act, true));
    clearInterval(fallback);
    clearTimeout(first);
    clearTimeout(timer);
  };
  return state;
}

export default function({data, parentElement, setTriggerValue}) {
  let state = live.get(parentElement);
  if (!state) { state = begin(data); live.set(parentElement, state); }
  const soonest = state.data.min_ms;
  state.fire = setTriggerValue;
  state.data = data;
  if (data.min_ms < soonest) state.again();
  return () => { state.end(); live.delete(parentElement); };
}
"""
_SENT_JS = re.sub(r"\s*(?:// .*)?\n\s*", "\n", _JS)
"""Without indentation and comments: the script travels with every refresh."""
_COMPONENT = st.components.v2.component("hankelboard_pulse", html="<span></span>\n", js=_SENT_JS)
Draw = Callable[..., int | None]


def live_region(
    *, min_ms: int = MIN_MS, ignore: tuple[str, ...] = (), fallback_ms: int = FALLBACK_MS
) -> Callable[[Draw], Callable[..., None]]:
    """Decorate a function that draws a fragment, to draw it again when its run changes on disk.

    Its argument is the run; without one, any run counts. It may return its refresh interval in milliseconds;
    without one it is drawn again at most every `min_ms`. Changes of ignored files (watch.HEARTBEAT and
    others) show every `fallback_ms`.
    """
    return functools.partial(_live, min_ms=min_ms, ignore=ignore, fallback_ms=fallback_ms)


def _live(draw: Draw, min_ms: int, ignore: tuple[str, ...], fallback_ms: int) -> Callable[..., None]:

    @st.fragment
    @functools.wraps(draw)
    def region(*run_id: str) -> None:
        if not may(visitor(), Action.READ):
            st.rerun()  # the whole page, which then says so
        refresh_ms = None
        with st.container(gap=None):  # the component takes no room
            try:
                with st.container():
                    refresh_ms = draw(*run_id)
            finally:  # also below an error: it may pass
                times = {"min_ms": refresh_ms or min_ms, "fallback_ms": fallback_ms}
                _pulse(draw.__name__, *run_id, ignore=ignore, times=times)

    return region


def _pulse(name: str, run_id: str | None = None, *, ignore: tuple[str, ...], times: dict[str, int]) -> None:
    asked = urlencode({**({"run": run_id} if run_id else {}), "ignore": ",".join(ignore)})
    _COMPONENT(
        key=f"pulse-{name}-{run_id or 'all'}",
        data={
            "path": f"./api/push?{asked}",
            "silent": SILENT,
            "first_ms": FALLBACK_MS,
            "patience_ms": PATIENCE_MS,
            **times,
        },
        on_tick_change=lambda: None,
        height=1,
    )
