"""Many runs of one shape, which take their steps together along a leading axis."""
