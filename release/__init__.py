"""What a release is made of, and what is looked at before: `python -m release`. docs/releasing.md has the steps."""
