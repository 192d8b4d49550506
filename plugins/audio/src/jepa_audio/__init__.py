"""The audio plugin of jepa-core; nothing is registered yet."""
