"""Training runs, one or many, from the seed to the record."""
