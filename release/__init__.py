"""The parts of a release and the checks before it: `python -m release`. docs/releasing.md has the steps."""
