"""The video plugin of jepa-core; nothing is registered yet."""
