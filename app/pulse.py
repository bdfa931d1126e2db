"""The pulse of a live region: an invisible component that asks for a rerun when the server says `changed`.

It must be mounted inside the fragment that it keeps alive: there each tick costs one run of the fragment,
and no tick can interrupt an action of the page.
"""

import streamlit as st

MIN_MS = 500
_JS = """
const live = new WeakMap();
export default function({data, parentElement, setTriggerValue}) {
  let state = live.get(parentElement);
  if (!state) {
    state = {fire: null, dirty: false, last: 0, timer: null, ended: false, lost: false};
    live.set(parentElement, state);
    const tick = () => {
      if (document.hidden) { state.dirty = true; return; }
      if (state.timer) return;
      const wait = Math.max(0, state.last + data.min_ms - performance.now());
      state.timer = setTimeout(() => {
        state.timer = null;
        state.last = performance.now();
        state.fire("tick", Date.now());
      }, wait);
    };
    const open = () => {
      const address = new URL(data.path, location.href);
      address.protocol = address.protocol.replace("http", "ws");
      const socket = state.socket = new WebSocket(address);
      socket.onmessage = tick;
      socket.onopen = () => { if (state.lost) { state.lost = false; tick(); } };
      socket.onclose = () => { state.lost = true; if (!state.ended) setTimeout(open, 1500); };
    };
    state.seen = () => { if (!document.hidden && state.dirty) { state.dirty = false; tick(); } };
    document.addEventListener("visibilitychange", state.seen);
    open();
  }
  state.fire = setTriggerValue;
  return () => {
    state.ended = true;
    state.socket.close();
    document.removeEventListener("visibilitychange", state.seen);
    clearTimeout(state.timer);
    live.delete(parentElement);
  };
}
"""
_COMPONENT = st.components.v2.component("hankelboard_pulse", html="<span></span>\n", js=_JS)


def pulse(run_id: str | None = None, *, min_ms: int = MIN_MS) -> None:
    """Rerun the surrounding fragment when this run (None: any) changed on disk, at most every `min_ms`."""
    base = (st.get_option("server.baseUrlPath") or "").strip("/")
    path = f"/{base}/api/push" if base else "/api/push"
    _COMPONENT(
        key=f"pulse-{run_id or 'all'}",
        data={"path": f"{path}?run={run_id}" if run_id else path, "min_ms": min_ms},
        on_tick_change=lambda: None,
        height=1,
    )
