"""One module for each kind of control; the registry finds them by itself."""
