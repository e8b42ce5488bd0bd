"""The network f(x; W): its derivatives, its symmetries, its loss and its numbers of parameters."""
