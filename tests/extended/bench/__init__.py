"""Measurements: `make bench` prints a table and writes bench.json. Nothing here passes or fails."""
