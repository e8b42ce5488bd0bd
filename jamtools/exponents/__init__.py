"""The exponents θ of the overlaps and γ of the gaps: pooling, fits, finite size, known values."""
