"""Threads of NumPy's and SciPy's BLAS while a layer is analysed or cut."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np  # noqa: F401  (the libraries that are limited must be loaded first)
import scipy.linalg  # noqa: F401
from threadpoolctl import ThreadpoolController

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

LIBRARIES = ThreadpoolController()


def one_blas_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Return one thread of BLAS inside the function, and as many as before after it.

    Matrices of a layer are small: a second thread gains little on an idle machine, and on a busy one
    OpenBLAS's threads wait for each other by spinning (the spectrum of 256 states took 3.8 steps of training
    by the clock instead of 0.6). Threads of PyTorch are not touched.
    """

    @functools.wraps(function)
    def limited(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with LIBRARIES.limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited
