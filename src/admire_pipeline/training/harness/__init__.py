"""Benchmark tasks: those of lm-evaluation-harness, and the user's own, run by it."""
