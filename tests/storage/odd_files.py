"""Lines of journals, and what else may lie in the place of a file."""

import os
import threading

from tests.waiting import PATIENCE_S


def in_time(call, seconds=PATIENCE_S):
    """The result of a call that must neither raise nor hang."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it hangs, or it raised"
    return results[0]


def line(number):
    return b'{"n":%d,"text":"\xc3\xa9 \xf0\x9f\x98\x80"}\n' % number


def a_folder(path, _):
    path.mkdir()


def a_pipe(path, _):
    os.mkfifo(path)


def a_link_that_leaves(path, tmp_path):
    (tmp_path / "elsewhere").write_bytes(line(5))
    path.symlink_to(tmp_path / "elsewhere")


def a_link_to_itself(path, _):
    path.symlink_to(path.name)


def a_link_to_nothing(path, _):
    path.symlink_to("nothing")


def a_link_to_a_device(path, _):
    path.symlink_to("/dev/zero")


IRREGULAR = [a_folder, a_pipe, a_link_that_leaves, a_link_to_itself, a_link_to_nothing, a_link_to_a_device]
