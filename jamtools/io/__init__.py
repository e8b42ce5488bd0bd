"""Everything that touches a file: artefacts, raw data, checkpoints, journals."""
