"""Side-by-side benchmarks: `python -m benchmarks` measures and writes docs/benchmarks.md."""
