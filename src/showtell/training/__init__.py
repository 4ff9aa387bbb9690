"""Training: recipe, batches, loop, checkpoints, log (needs torch)."""

import os

# Captions differ in length, so every step multiplies matrices of new shapes. oneDNN caches a plan
# with buffers for each of the last 1,024 shapes: gigabytes that are rarely used again.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
