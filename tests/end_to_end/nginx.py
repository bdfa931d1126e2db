"""A reverse proxy as people run one: it shows the dashboard below a path that the dashboard does not know."""

import contextlib
import os
import shutil
import socket
import subprocess

import pytest

from tests.waiting import PATIENCE_S, until

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; {user}
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  proxy_http_version 1.1;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $connection_upgrade;
  server {{
    listen 127.0.0.1:{plain};
    location /user/rewritten/ {{ proxy_pass http://127.0.0.1:{port}/; }}
    location /silent/ {{ proxy_pass http://127.0.0.1:{port}/; }}
    location /silent/api/ {{ return 404; }}
  }}
  server {{
    listen 127.0.0.1:{encrypted} ssl;
    ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;
    location /encrypted/ {{
      proxy_pass http://127.0.0.1:{port}/;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}
}}
"""
CERTIFICATE = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
               "-subj", "/CN=127.0.0.1")  # fmt: skip


class Nginx:
    """nginx with its files in one folder."""

    def __init__(self, folder):
        self._folder = folder
        self._plain, self._encrypted = free_ports(2)
        self.addresses = {
            "rewritten": f"http://127.0.0.1:{self._plain}/user/rewritten",
            "silent": f"http://127.0.0.1:{self._plain}/silent",
            "encrypted": f"https://127.0.0.1:{self._encrypted}/encrypted",
        }

    @contextlib.contextmanager
    def before(self, port):
        """Let it stand before a server for as long as the block takes."""
        path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
        nginx, openssl = shutil.which("nginx", path=path), shutil.which("openssl")
        if nginx is None or openssl is None:
            pytest.skip("no nginx or no openssl: sudo apt-get install nginx-light openssl")
        files = ("-keyout", self._folder / "key", "-out", self._folder / "certificate")
        subprocess.run([openssl, *CERTIFICATE, *files], check=True, capture_output=True)
        file = self._folder / "nginx.conf"
        file.write_text(CONFIGURATION.format(
            folder=self._folder, port=port, plain=self._plain, encrypted=self._encrypted,
            user="user root;" if os.geteuid() == 0 else "",
        ))  # fmt: skip
        process = subprocess.Popen([nginx, "-p", self._folder, "-c", file])
        try:
            until(lambda: process.poll() is not None or answers(self._encrypted))
            assert process.poll() is None, (self._folder / "error.log").read_text()
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def free_ports(count):
    """Ports that nobody listens on."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
