"""Benchmarks of what the project claims: paced, interleaved, as ratios, with the machine in the result."""
