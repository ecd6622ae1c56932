"""Concepts: reading and checking files, the sentence pool, tokens."""
