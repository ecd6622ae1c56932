"""Measurements of ours beside its peers; the peers' torch code lives here only."""
