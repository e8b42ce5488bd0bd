"""Symmetric matrices that know nothing of networks: eigenvalues, signs, densities by Lanczos."""
