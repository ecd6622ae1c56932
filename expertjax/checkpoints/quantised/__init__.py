"""Quantised weights of Hugging Face folders, dequantised one at a time."""
