"""Training: recipe, batches, loop, checkpoints, log (needs torch)."""
