"""Types, errors, registries, files and geometry that every other package uses."""
