"""The benchmark: `python -m benchmarks`, as root. `docs/performance.md` contains its latest figures."""
