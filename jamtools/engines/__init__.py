"""How the steps of a training are taken fast: torch, the compiled kernel, batches of runs."""
