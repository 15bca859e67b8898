"""Measure speed and memory, compare them with unmodified peers, and report them.

A measure is a decorated function in `measures/`; a peer is a file in `peers/`.
"""
