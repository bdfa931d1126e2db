"""What travels to a page while its run trains: what changed, and little of it."""

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from hankelboard.app.live.pulse import FALLBACK_MS
from tests.app.synthetic_run import SyntheticRun
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.browser

ONLY_WHEN_TOLD = f"""
for (const name of ["setInterval", "setTimeout"]) {{
  const real = window[name].bind(window);
  window[name] = (act, ms, ...more) => ms >= {FALLBACK_MS} ? 0 : real(act, ms, ...more);
}}
const Real = WebSocket;
window.WebSocket = class extends Real {{
  constructor(address, protocols) {{ super(String(address).replace(/look=\\d+/, "look=0"), protocols); }}
}};"""
"""Nobody looks at anything by themselves: what travels was caused, however long a test takes."""


class Traffic:
    """The messages that Streamlit sends to a page."""

    def __init__(self, page):
        self._page, self._messages, self._regions = page, [], 0
        page.add_init_script(ONLY_WHEN_TOLD)
        page.on("websocket", self._listen)

    def _listen(self, socket):
        if "_stcore/stream" in socket.url:
            socket.on("framereceived", self._take)
        self._regions += "api/push" in socket.url

    def _take(self, frame):
        self._messages.append((len(frame), ForwardMsg.FromString(frame)))

    def settles(self, regions=0, charts=frozenset()):
        """Wait until so many regions are told of changes, these charts came, and nothing comes any more."""
        for _ in range(round(PATIENCE_S / 0.05)):
            if self._regions >= regions and self.charts() >= charts:
                break
            self._page.wait_for_timeout(50)
        else:
            raise AssertionError(f"{self._regions} regions, charts {self.charts()}")
        self._page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self._page.wait_for_timeout(1500)

    def charts(self):
        """The charts that came, by the first word of what is said of them."""
        alts = (message.delta.new_element.vega_lite_chart.alt for _, message in self._messages)
        return {alt.split(" ")[0] for alt in alts if alt}

    def of(self, act, charts=frozenset()):
        """Bytes, charts and kinds of elements that an act causes to be sent, these charts among them.

        What comes twice counts once: a change that a slow machine tells in two parts is drawn twice.
        """
        self._messages.clear()
        act()
        self.settles(charts=charts)
        places = {
            tuple(message.metadata.delta_path) or message.WhichOneof("type"): size
            for size, message in self._messages
        }
        kinds = {message.delta.new_element.WhichOneof("type") for _, message in self._messages}
        return sum(places.values()), self.charts(), kinds


@pytest.fixture
def run(services):
    run = SyntheticRun(services.runs, "in short", queued=False).start()
    for step in range(100, 901, 100):
        run.train(step)
    return run


CURVES = {"Loss", "Accuracy", "State", "Learning", "Throughput", "Memory"}


SPECTRA = {"Hankel", "Ranks", "Share"}


def test_the_page_run_is_sent_what_changed(services, page, run):
    traffic = Traffic(page)
    page.goto(f"{services.url}/run?run={run.id}")
    traffic.settles(regions=5, charts=CURVES | {"Hankel"})
    size, charts, elements = traffic.of(lambda: run.train(910), CURVES)
    assert charts == CURVES and "json" not in elements
    assert 20_000 < size < 75_000
    size, charts, elements = traffic.of(lambda: run.spectra("scheduled"), {"Hankel"})
    assert charts == {"Hankel"} and "json" not in elements
    assert size < 25_000  # with a look at how the run is
    page.get_by_text("step 910 of").wait_for()
    assert page.problems == []


def test_the_page_spectra_is_sent_a_spectrum_when_there_is_one(services, page, run):
    traffic = Traffic(page)
    page.goto(f"{services.url}/spectra?run={run.id}")
    traffic.settles(regions=2, charts=SPECTRA)
    size, charts, _ = traffic.of(lambda: run.train(910))
    assert charts == set() and size < 12_000
    size, charts, _ = traffic.of(lambda: run.train(1000), SPECTRA)
    assert charts == SPECTRA
    assert size < 30_000
    page.get_by_text("snapshots from step 0 to 1,000").wait_for()
    assert page.problems == []
