"""The Hessian H = H0 + Hp: assembled, as products, its exact spectra, its estimated densities."""
