"""The tabletop engine: a robot at a table with objects on it."""
