"""Everything that talks to a neighbour. Foreign errors become `worker.errors` here and nowhere else."""
