"""What is on disk: TensorStore arrays, ledgers of finished blocks, tables."""
