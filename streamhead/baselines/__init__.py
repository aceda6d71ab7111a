"""The systems the paper is compared with, re-implemented in the family of each original: docs/baselines.md.

Only what differs from the paper's network lives here; the deterministic model and the unimodal VAE are presets of it.
"""
