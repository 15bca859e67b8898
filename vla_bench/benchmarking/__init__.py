"""How fast everything is, beside the stock peers in the same run; its page, its check, profiles and growth.

Import from the modules: `benchmark` (`run_benchmark`), `measures`, `record`. A measure is one file in `kinds/`, a peer
one file in `stock/`.
"""
