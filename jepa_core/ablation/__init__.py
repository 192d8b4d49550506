"""Ablation studies: one study file, ordinary runs, one fair table."""
