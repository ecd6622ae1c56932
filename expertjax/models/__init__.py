"""Models as Flax NNX modules: sites, edits, one file per family."""
