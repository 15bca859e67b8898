"""One module a kind of network; each registers itself."""
