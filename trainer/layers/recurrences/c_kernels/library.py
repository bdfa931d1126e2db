"""The compiled kernels in this process, and calls of them by several threads.

No OpenMP: a second runtime beside that of PyTorch ends the process on some systems, and not every compiler
has one. Tasks of a call are independent, so threads of Python take a part each; the interpreter's lock is
free meanwhile, and a result does not depend on how many there are.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from hankelboard.trainer.layers.recurrences.c_kernels import compiler
from hankelboard.trainer.layers.recurrences.c_kernels.unavailable import Unavailable

Argument = int | Tensor | None


@dataclass(frozen=True)
class Library:
    code: ctypes.CDLL | None
    compiler: str
    """Version of what it was compiled with."""
    reason: str
    """Why there is none; empty where there is one."""


@functools.cache
def library() -> Library:
    """Return the library of this process: found in the cache, else compiled, else the reason why not."""
    try:
        path, version = compiler.obtain()
        return Library(ctypes.CDLL(str(path)), version, "")
    except (OSError, Unavailable) as error:  # OSError: nothing may be run from that file system
        return Library(None, "", str(error))


def lanes() -> int:
    """Return how many numbers a vector of the kernels has."""
    return int(_code().lanes())


def call(name: str, tasks: int, *arguments: Argument) -> None:
    """Call a kernel for all its tasks, a share of them in each of PyTorch's threads.

    Tensors must be contiguous, and of single precision or complex64. Raises MemoryError where a kernel finds
    none.
    """
    function: Callable[..., int] = getattr(_code(), name)
    passed = [_passed(each) for each in arguments]
    threads = max(1, min(torch.get_num_threads(), tasks))
    ends = [ctypes.c_int64(tasks * share // threads) for share in range(threads + 1)]
    others = [_pool(threads - 1).submit(function, *ends[i : i + 2], *passed) for i in range(1, threads)]
    failed = [function(*ends[:2], *passed), *(other.result() for other in others)]
    if any(failed):
        raise MemoryError(f"no memory for the kernel {name}")


def _code() -> ctypes.CDLL:
    found = library()
    if found.code is None:
        raise Unavailable(found.reason)
    return found.code


def _passed(argument: Argument) -> ctypes.c_int64 | ctypes.c_void_p:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="hankelboard-kernels")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
