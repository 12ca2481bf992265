"""Contracts and machinery of the benchmark. Knows no estimator and no task by name."""
