"""Proofs on one machine: the streamer under kills and faults, the containers, and how fresh pages are."""
