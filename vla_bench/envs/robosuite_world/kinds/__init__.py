"""The kinds of assets that a task on robosuite may name, a module each."""
