"""Many runs of one shape, taken forward together along a leading axis."""
