"""Turn a dataset folder into a vision-language model."""

import os

# OpenMP's threads otherwise spin while they wait for each other. Where another process wants the same cores, that was
# measured to make a training step on a CPU up to 20 times slower; asleep, they cost next to nothing. Must be said before
# torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
