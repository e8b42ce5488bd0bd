"""The batch engine: many runs of one shape take their steps together, along a leading axis of the tensors."""
