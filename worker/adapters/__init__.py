"""Everything that talks to a dependency. Foreign errors become `worker.errors` here and nowhere else."""
