"""The operator's patches for the manifests: pure."""
