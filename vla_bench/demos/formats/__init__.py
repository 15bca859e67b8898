"""Formats that demonstrations can be read from; each module registers one."""
