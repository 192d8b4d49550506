"""Plugins for jepa-core; the modules that entry points name import neither torch nor NumPy."""
