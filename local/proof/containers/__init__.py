"""The project's images and its compose file, built and run by a real Docker engine."""
