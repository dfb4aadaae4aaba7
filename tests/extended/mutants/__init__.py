"""Guards broken on purpose: `make mutants` shows that a test notices each of them."""
