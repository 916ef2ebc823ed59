"""The tables in the documentation, out of benchmarks/results/."""
