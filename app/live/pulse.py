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
from hankelboard.app.live.looks import EVERY_MS, looks

MIN_MS = 500
FALLBACK_MS = EVERY_MS
"""How often the server looks whether a region would be drawn otherwise; without it, how often it is drawn."""
RARELY_MS = 60_000
"""The same for a region that shows nothing of what it ignores."""
PATIENCE_MS = 3_000
NO_PUSH = f"Live updates do not come through; refreshed every {FALLBACK_MS // 1000} s."
"""Shown when no push is to be had, as behind a proxy that lets no WebSocket through."""
_JS = """
const ACTS = ["pointerdown", "pointerup", "pointercancel", "keydown", "change"];
const CONNECTION = "data-test-connection-state";
const BUSY = ["running", "rerunRequested", "stopRequested"];
const live = new WeakMap();
let fired = -Infinity;  // when any region of the page did: the page is not seen to run at once

// Where the server's root is, seen from here: a proxy may have put a prefix before it that it does not know.
const root = () => {
  const source = document.querySelector("script[src*='/static/js/']")?.src ?? "";
  const end = source.lastIndexOf("/static/js/");
  return end < 0 ? location.href : source.slice(0, end + 1);
};

const pushless = new Set();  // regions of this page to which no push comes
function without(state, lacks) {
  if (lacks) pushless.add(state); else pushless.delete(state);
  const shown = document.getElementById("hankelboard-no-push");
  if (!pushless.size) { shown?.remove(); return; }
  if (shown) return;
  const note = document.createElement("div");
  note.id = "hankelboard-no-push";
  note.setAttribute("role", "status");
  note.textContent = state.data.no_push;
  note.style.cssText = "position:fixed;right:1rem;bottom:.4rem;z-index:99;padding:.1rem .5rem;"
    + "font-size:.75rem;border-radius:.3rem;background:inherit;opacity:.75;pointer-events:none";
  (document.querySelector("[data-testid=stApp]") ?? document.body).append(note);
}

function begin(data) {
  const app = document.querySelector("[data-testid=stApp]");
  const busy = () => BUSY.includes(app?.dataset.testScriptState);
  const state = {fire: null, data};
  let due = false, last = 0, timer = null, pressed = false, acted = -Infinity, answering = false;
  let socket = null, lost = false, ended = false, tries = 0, retry = null, settling = null, fallback = null;

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

  // While the socket is open the server looks, and says when something is another than it was.
  const unheard = () => { if (socket.readyState !== WebSocket.OPEN || state.data.ticks) tick(); };
  const refresh = (ms) => { clearInterval(fallback); fallback = setInterval(unheard, ms); };
  const settled = () => { tries = 0; without(state, false); refresh(data.fallback_ms); };
  const open = () => {
    retry = null;
    const address = new URL(data.path, root());
    address.protocol = address.protocol.replace("http", "ws");
    socket = new WebSocket(address);
    socket.onmessage = tick;
    socket.onopen = () => {
      settling = setTimeout(settled, tries ? 3000 : 0);  // not for a proxy that closes at once what it opened
      if (lost) { lost = false; tick(); }
    };
    socket.onclose = () => {
      lost = true;
      clearTimeout(settling);
      if (ended) return;
      leave();
      tries += 1;
      if (tries === 3) { without(state, true); refresh(Math.min(data.first_ms, data.fallback_ms)); }
      retry = setTimeout(open, Math.min(60000, 750 * 2 ** tries) * (0.8 + 0.4 * Math.random()));
    };
  };
  const again = () => { if (retry !== null) { clearTimeout(retry); open(); } };
  open();
  refresh(data.fallback_ms);
  document.addEventListener("visibilitychange", look);
  window.addEventListener("online", again);
  const first = setTimeout(unheard, data.first_ms);

  state.end = () => {
    ended = true;
    socket.close();
    without(state, false);
    window.removeEventListener("online", again);
    clearTimeout(retry);
    clearTimeout(settling);
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
    *,
    min_ms: int = MIN_MS,
    ignore: tuple[str, ...] = (),
    fallback_ms: int = FALLBACK_MS,
    ticks: bool = False,
) -> Callable[[Draw], Callable[..., None]]:
    """Decorate a function that draws a fragment, to draw it again when its run changes on disk.

    Its argument is the run; without one, any run counts. It may return its refresh interval in milliseconds;
    without one it is drawn again at most every `min_ms`. Changes of ignored files (watch.HEARTBEAT and
    others), and what no file says (app/live/looks.py), show every `fallback_ms`. One that `ticks` is drawn so
    often in any case: it shows what nobody looks at for it.
    """
    return functools.partial(_live, min_ms=min_ms, ignore=ignore, fallback_ms=fallback_ms, ticks=ticks)


def _live(
    draw: Draw, min_ms: int, ignore: tuple[str, ...], fallback_ms: int, ticks: bool
) -> Callable[..., None]:

    @st.fragment
    @functools.wraps(draw)
    def region(*run_id: str) -> None:
        if not may(visitor(), Action.READ):
            st.rerun()  # the whole page, which then says so
        refresh_ms, seen = None, looks.number(run_id[0] if run_id else None)  # before: what is newer shows
        with st.container(gap=None):  # the component takes no room
            try:
                with st.container():
                    refresh_ms = draw(*run_id)
            finally:  # also below an error: it may pass
                times = {"min_ms": refresh_ms or min_ms, "fallback_ms": fallback_ms}
                _pulse(draw.__name__, *run_id, ignore=ignore, seen=seen, times=times, ticks=ticks)

    return region


def _pulse(
    name: str,
    run_id: str | None = None,
    *,
    ignore: tuple[str, ...],
    seen: int,
    times: dict[str, int],
    ticks: bool,
) -> None:
    which = {"run": run_id} if run_id else {}
    asked = urlencode({**which, "ignore": ",".join(ignore), "seen": seen, "look": times["fallback_ms"]})
    _COMPONENT(
        key=f"pulse-{name}-{run_id or 'all'}",
        data={
            "path": f"api/push?{asked}",
            "first_ms": FALLBACK_MS,
            "no_push": NO_PUSH,
            "patience_ms": PATIENCE_MS,
            "ticks": ticks,
            **times,
        },
        on_tick_change=lambda: None,
        height=1,
    )
