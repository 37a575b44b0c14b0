"""What a user can say: matrices, runs and their keys, catalogs, outcomes; and the errors for bad input."""
