"""Patterns and labels: random points on a sphere, images, and the user's own arrays."""
