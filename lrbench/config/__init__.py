"""What a user can say: matrices, runs and their keys, catalogs, outcomes, and how bad input is told."""
