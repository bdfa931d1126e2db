"""A real dashboard, a real worker and a real Chromium."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from urllib.parse import urlencode

import pytest

from tests.hostile_folder import hostile_folder
from tests.waiting import PATIENCE_S, until

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def free_port():
    """A port below those that the kernel gives away: nobody else gets it before the server is up.

    Of processes side by side each looks in other places first.
    """
    for port in range(20_000 + 7 * os.getpid() % 10_000, 32_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free below 32,000")


def chromium_path():
    names = (os.environ.get("HANKELBOARD_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if name and (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("no Chromium: run `sudo apt-get install chromium`, or set HANKELBOARD_CHROMIUM to one")
    return path


TOKEN = "a token that the tests chose"
WEAKENED = {
    "STREAMLIT_SERVER_ENABLE_CORS": "false",
    "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false",
    "STREAMLIT_SERVER_ENABLE_AGENT_API": "true",
    "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
    "HANKELBOARD_NO_TOKEN": "1",
    "FORWARDED_ALLOW_IPS": "*",
}
"""Variables that somebody may have set for other servers."""


class Outside:
    """Stands for all other machines: a proxy that notes who asks for something there, and answers nobody."""

    def __init__(self):
        self.asked = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    self.asked.append(connection.recv(1024).decode("latin-1").partition("\r")[0])

    def variables(self):
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        return {**dict.fromkeys(names, self.url), "NO_PROXY": "", "no_proxy": ""}

    def close(self):
        self._socket.close()


class Services:
    """The two lines of the Procfile, on a folder of runs of their own, with a token that is known."""

    def __init__(self, runs):
        self.runs = runs
        self.token_file = runs.with_name(f"{runs.name}-token")
        self.token_file.touch(0o600)
        self.token_file.write_text(TOKEN)
        self.folder = runs.with_name(f"{runs.name}-started-here")
        self.folder.mkdir()
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.token = TOKEN
        self.outside = Outside()
        self.environment = {
            **os.environ,
            **WEAKENED,
            **self.outside.variables(),
            "HOME": str(self.folder),
            "HANKELBOARD_RUNS": str(runs),
            "HANKELBOARD_USER": "ada",
        }
        self._processes = []

    def start(self, *options, worker=True):
        # From a folder whose files are called like parts of Hankelboard: none of them may matter.
        hostile_folder(self.folder)
        self._spawn("web", "--port", str(self.port), "--token-file", str(self.token_file), *options)
        if worker:
            self._spawn("worker")
        until(self._answers, every_s=0.2)

    def _answers(self):
        """Whether the pages are served by now."""
        if self._processes[0].poll() is not None:
            raise RuntimeError((self.runs / "web.log").read_text())
        health = f"{self.url}/_stcore/health"
        with contextlib.suppress(OSError), urllib.request.urlopen(health, timeout=PATIENCE_S) as answer:
            return answer.status == 200
        return False

    def _spawn(self, name, *arguments):
        with (self.runs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hankelboard", name, *arguments],
                cwd=self.folder, env=self.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self._processes.append(process)

    def address(self, token=TOKEN):
        """The address that signs a browser in."""
        return f"{self.url}/?{urlencode({'token': token})}"

    def session(self, token):
        """The value of the cookie that a token is exchanged for."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", self.address(token).removeprefix(self.url))
            cookie = connection.getresponse().headers["set-cookie"]
        return cookie.partition("=")[2].partition(";")[0]

    def sign_in(self, context, token=TOKEN):
        """Give a browser's profile the cookie of a token. Returns the profile."""
        assert context.request.get(self.address(token)).ok
        return context

    def command(self, *arguments):
        """A command of the command line; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "hankelboard", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.wait(PATIENCE_S)
        self.outside.close()
        assert self.outside.asked == [], "somebody outside of this machine was asked"


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    running = Services(tmp_path_factory.mktemp("runs"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = chromium_path()
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS, timeout=1000 * PATIENCE_S)
        yield chromium
        chromium.close()


def new_context(browser, **options):
    """A profile of its own, whose pages wait as long as tests do."""
    context = browser.new_context(**options)
    context.set_default_timeout(1000 * PATIENCE_S)
    return context


@pytest.fixture
def page(browser, services):
    """A tab of somebody who is signed in as the owner."""
    context = new_context(browser, viewport={"width": 1280, "height": 900})
    page = services.sign_in(context).new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    yield page
    # Shown when the test failed: what a person would see, which no stack trace tells.
    print(f"errors on the page: {page.problems}", f"address: {page.url}", sep="\n")
    with contextlib.suppress(Exception):
        print(page.locator("body").inner_text(timeout=2000)[:6000])
    context.close()
