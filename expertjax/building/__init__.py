"""Concept folders out of corpora, WordNet, tables and other folders."""
