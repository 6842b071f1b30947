"""What the processes of `tests.cluster.workers` need, imported once for all of them."""

import os

os.environ["DS_ACCELERATOR"] = "cpu"

import cluster.checkpoint  # noqa: F401
import cluster.loop  # noqa: F401
import cluster.optimizer_state  # noqa: F401
import models.fine_tuning  # noqa: F401
import models.masked_autoencoder  # noqa: F401
