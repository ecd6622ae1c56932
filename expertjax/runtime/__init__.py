"""Devices and processes: the only room that names mesh axes."""
