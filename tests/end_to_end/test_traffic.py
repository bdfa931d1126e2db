"""What travels to a page while its run trains: what changed, and little of it."""

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from app.pulse import FALLBACK_MS
from tests.app.synthetic_run import SyntheticRun

pytestmark = pytest.mark.browser


class Traffic:
    """The messages that Streamlit sends to a page."""

    def __init__(self, page):
        self._page, self._frames, self._regions = page, [], 0
        page.on("websocket", self._listen)

    def _listen(self, socket):
        if "_stcore/stream" in socket.url:
            socket.on("framereceived", lambda frame: self._frames.append(frame))
        self._regions += "api/push" in socket.url

    def listens(self, regions):
        """Wait until so many regions of the page are told of changes, and have had their first look."""
        while self._regions < regions:
            self._page.wait_for_timeout(50)
        self._page.wait_for_timeout(FALLBACK_MS)
        self.settled()

    def settled(self, quiet_ms=1500):
        """Wait until nothing comes any more."""
        while True:
            count = len(self._frames)
            self._page.wait_for_timeout(quiet_ms)
            if len(self._frames) == count:
                return

    def of(self, act):
        """Bytes, charts (by what is said of them) and other elements that an act causes to be sent."""
        self.settled()
        self._frames.clear()
        act()
        self._page.wait_for_timeout(1500)
        self.settled()
        elements = [ForwardMsg.FromString(frame).delta.new_element for frame in self._frames]
        charts = [element.vega_lite_chart.alt.split(" ")[0] for element in elements]
        return (
            sum(map(len, self._frames)), set(filter(None, charts)),
            {element.WhichOneof("type") for element in elements},
        )  # fmt: skip


@pytest.fixture
def run(services):
    run = SyntheticRun(services.runs, "in short", queued=False).start()
    for step in range(100, 901, 100):
        run.train(step)
    return run


CURVES = {"Loss", "Accuracy", "State", "Learning", "Throughput", "Memory"}


def test_the_page_run_is_sent_what_changed(services, page, run):
    traffic = Traffic(page)
    page.goto(f"{services.url}/run?run={run.id}")
    traffic.listens(5)
    size, charts, elements = traffic.of(lambda: run.train(910))
    assert charts == CURVES and "json" not in elements
    assert 20_000 < size < 75_000
    size, charts, elements = traffic.of(lambda: run.spectra("scheduled"))
    assert charts == {"Hankel"} and "json" not in elements
    assert size < 25_000  # with a look at how the run is
    page.get_by_text("step 910 of").wait_for()
    assert page.problems == []


def test_the_page_spectra_is_sent_a_spectrum_when_there_is_one(services, page, run):
    traffic = Traffic(page)
    page.goto(f"{services.url}/spectra?run={run.id}")
    traffic.listens(2)
    size, charts, _ = traffic.of(lambda: run.train(910))
    assert charts == set() and size < 12_000  # it looks for notes now and then
    size, charts, _ = traffic.of(lambda: run.train(1000))
    assert charts == {"Hankel", "Ranks", "Share"}
    assert size < 30_000
    page.get_by_text("snapshots from step 0 to 1,000").wait_for()
    assert page.problems == []
