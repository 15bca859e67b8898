"""One module a form of adapter; each registers itself."""
