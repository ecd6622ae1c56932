"""Scoring: every unit against every concept, exactly."""
