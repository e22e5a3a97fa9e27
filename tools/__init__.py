"""Sets the project up and builds from it: set-up, locks, MWAA's artifacts, docs, the embedded model."""
