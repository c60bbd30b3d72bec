"""Bundles: everything that a robot needs to run one policy, in one file that proves what it is."""
