"""A menu that saves the charts of a page as SVG files. PNG is in each chart's own toolbar.

It copies what the browser drew: nothing is computed again, and what is zoomed stays zoomed. Charts that are
drawn on a canvas (the heat map) have no SVG: the menu says where their PNG is.
"""

import streamlit as st

_HTML = """
<details>
  <summary>Save a chart as SVG</summary>
  <div></div>
</details>
"""
_CSS = """
details { position: relative; font-family: var(--st-font); font-size: 0.875rem; color: var(--st-text-color); }
summary { cursor: pointer; list-style: none; padding: 0.3rem 0; opacity: 0.75; white-space: nowrap; }
summary:hover, summary:focus-visible { opacity: 1; text-decoration: underline; }
div { display: flex; flex-direction: column; align-items: flex-start; gap: 0.1rem; }
button { all: unset; cursor: pointer; padding: 0.2rem 0.5rem; border-radius: 0.3rem; }
small { padding: 0.2rem 0.5rem; opacity: 0.75; }
button:hover, button:focus-visible { background: var(--st-secondary-background-color); }
"""
_JS = """
const named = chart => chart.getAttribute("aria-label") || "chart";
const save = chart => {
  const svg = chart.querySelector("svg.marks").cloneNode(true);
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = named(chart);
  svg.prepend(title);
  const text = new XMLSerializer().serializeToString(svg);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "image/svg+xml"}));
  link.download = named(chart).toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") + ".svg";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
export default function({parentElement}) {
  const details = parentElement.querySelector("details");
  const list = details.querySelector("div");
  details.onkeydown = event => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    details.querySelector("summary").focus();
  };
  details.ontoggle = () => {
    list.replaceChildren();
    if (!details.open) return;
    for (const chart of document.querySelectorAll("[data-testid=stVegaLiteChart]")) {
      if (chart.querySelector("svg.marks")) {
        const button = document.createElement("button");
        button.textContent = named(chart);
        button.onclick = () => { save(chart); details.open = false; };
        list.append(button);
      } else if (chart.querySelector("canvas.marks")) {
        const note = document.createElement("small");
        note.textContent = `${named(chart)}: as PNG only, from its own toolbar`;
        list.append(note);
      }
    }
    if (!list.childNodes.length) list.append("There is no chart on this page yet.");
  };
}
"""
_COMPONENT = st.components.v2.component("hankelboard_svg_export", html=_HTML, css=_CSS, js=_JS)


def svg_export() -> None:
    """Draw the export menu. Mount it outside live fragments: it reads the page when it is opened."""
    _COMPONENT(key="svg_export")
