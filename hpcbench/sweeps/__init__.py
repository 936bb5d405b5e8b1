"""A sweep from its file to its finished runs: planned, run here or by Slurm, followed, resumed."""
