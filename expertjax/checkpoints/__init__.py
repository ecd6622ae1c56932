"""Checkpoints: readers of tensors, the key-table engine, Orbax, loading."""
