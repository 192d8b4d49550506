"""Video for jepa-core: V-JEPA (`jepa_video.plugin` holds what is registered)."""
