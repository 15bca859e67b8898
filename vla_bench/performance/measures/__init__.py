"""The measures by theme. Each module registers functions in `vla_bench.performance.registry`."""
