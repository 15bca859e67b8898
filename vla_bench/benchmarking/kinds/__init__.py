"""The measures, one a module: a module here registers a `Measure` in `vla_bench.benchmarking.measures`."""
