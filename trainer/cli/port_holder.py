"""Which process listens on a port, where the system says so: Linux, of processes of the same user."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

LISTENING = "0A"


def port_holder(port: int, proc: Path = Path("/proc")) -> str:
    """Return the process that listens on a port, as "process 123 (python -m …)"; nothing when unknown."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port, proc)}
    for process in proc.glob("[0-9]*") if sockets else ():
        with contextlib.suppress(OSError):  # it may end while it is looked at
            if sockets.intersection(_descriptors(process)):
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                return f"process {process.name} ({' '.join(words).strip()[:100]})"
    return ""


def _descriptors(process: Path) -> Iterator[str]:
    """Yield what the open descriptors of a process are."""
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            yield str(descriptor.readlink())


def _listening(port: int, proc: Path) -> Iterator[str]:
    """Yield the inodes of sockets that listen on this port, at whatever address."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and fields[1].endswith(f":{port:04X}"):
                    yield fields[9]
