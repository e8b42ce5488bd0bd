"""The commands: each reads one artefact, makes one library call and writes one artefact."""
