"""The benchmark: `python -m benchmarks`, as root. `docs/performance.md` holds its latest figures."""
