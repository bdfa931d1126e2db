"""What training changes in the process that it runs in, and gives back: threads, generators, kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from hankelboard.settings.config import TrainingConfig
from hankelboard.trainer.compression import generators
from hankelboard.trainer.layers.recurrences import installed_kernels


@contextmanager
def surroundings(training: TrainingConfig) -> Iterator[None]:
    """Compute with the threads and kernels of a configuration; leave these and generators as they were.

    NumPy's BLAS has one thread where the configuration does not say: see blas_threads.py.
    """
    threads = torch.get_num_threads()
    blas = threadpool_limits(training.threads or 1, user_api="blas")
    try:
        if training.threads:
            torch.set_num_threads(training.threads)
        with generators.kept(), installed_kernels.allowed(training.kernels):
            yield
    finally:
        blas.restore_original_limits()
        torch.set_num_threads(threads)
