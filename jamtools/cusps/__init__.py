"""Where ReLU has a kink: the number of cusps N_c, pre-activations, the smallest subgradient."""
