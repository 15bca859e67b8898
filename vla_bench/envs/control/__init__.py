"""Operational-space control of the end-effector for both engines."""
