"""Images as a modality of jepa-core: I-JEPA, the reference plugin."""
