"""nginx as an ordinary process in a folder of its own, in front of one dashboard."""

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.waiting import until

TEMPLATE = Path(__file__).with_name("nginx.conf")
PATHS = {
    "prefix": ("PREFIX_PORT", "http", "/user/a/proxy/8501/"),
    "rewritten host": ("REWRITTEN_PORT", "http", "/"),
    "https": ("TLS_PORT", "https", "/"),
    "https, prefix, rewritten host": ("HTTPS_PORT", "https", "/lab/runs/"),
    "without push": ("PUSHLESS_PORT", "http", "/"),
}
"""Each way to the dashboard: its port, scheme and prefix."""


def free_ports(count):
    """Ports that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Nginx:
    """Started by `start`; `addresses` says where each way leads in."""

    def __init__(self, folder, upstream):
        self._folder = folder
        self._upstream = upstream
        self._ports = dict(zip([port for port, *_ in PATHS.values()], free_ports(len(PATHS)), strict=True))
        self.addresses = {
            way: f"{scheme}://127.0.0.1:{self._ports[port]}{path}"
            for way, (port, scheme, path) in PATHS.items()
        }

    def start(self):
        self._certify()
        text = TEMPLATE.read_text(encoding="utf-8")
        for name, value in {"FOLDER": self._folder, "UPSTREAM": self._upstream, **self._ports}.items():
            text = text.replace(f"@{name}@", str(value))
        file = self._folder / "nginx.conf"
        file.write_text(text, encoding="utf-8")
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program, "no nginx: run tests/integrations/install_nginx.sh"
        self._process = subprocess.Popen([program, "-p", str(self._folder), "-c", str(file)])
        until(self._listens, every_s=0.1)

    def _listens(self):
        assert self._process.poll() is None, (self._folder / "error.log").read_text(encoding="utf-8")
        with contextlib.suppress(OSError):
            for port in self._ports.values():
                socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    def _certify(self):
        """Make a certificate that nobody signed but itself."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
             "-subj", "/CN=localhost", "-keyout", f"{self._folder}/key.pem", "-out",
             f"{self._folder}/cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip

    def stop(self):
        self._process.terminate()
        self._process.wait()
