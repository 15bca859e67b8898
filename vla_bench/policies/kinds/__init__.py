"""One module for each kind of policy; the registry finds them by itself."""
