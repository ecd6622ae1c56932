"""Capture: from sentences to responses.zarr."""
