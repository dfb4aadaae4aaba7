"""The operator's patches for the manifests. Pure."""
