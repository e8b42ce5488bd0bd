"""jamtools: the jamming transition of neural networks, from a dataset to the exponents."""

__version__ = "0.1.0"
