"""How fast it is, as facts: `make bench` prints a table and writes bench.json. Nothing here passes or fails."""
