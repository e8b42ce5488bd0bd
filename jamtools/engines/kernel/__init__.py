"""The compiled kernel: full-batch steps of one network on the CPU."""
