"""`python -m vla_bench` is `vla-bench`."""

from vla_bench.cli import main

if __name__ == "__main__":
    main()
