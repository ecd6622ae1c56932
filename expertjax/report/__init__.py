"""Figures and the self-contained HTML page of one model's results."""
