"""From a solution to solution.zip: pure, the same bytes for the same input."""
