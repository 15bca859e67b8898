"""Types, errors, the registry, rotations and paths: what everything else stands on."""
