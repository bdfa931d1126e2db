"""What computes: models, data, training loop, reduction, worker and command line."""

import os

# Threads of OpenMP that wait by spinning take the processor from whatever else runs: on a busy machine of two
# cores a step at the shape of sequential MNIST took 0.2 to 0.5 s instead of 0.04 s. It is read when torch is
# loaded, so it is said before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
