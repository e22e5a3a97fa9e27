"""Proofs of the streamer on one machine: killed at random, under every fault, and half an hour of both."""
