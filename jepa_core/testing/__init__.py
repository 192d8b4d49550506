"""The conformance kit: named checks of plugins, for `jepa plugins check` and for pytest."""
