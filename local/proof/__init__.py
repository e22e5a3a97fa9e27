"""What proves the streamer on one machine: killed at random, under every fault, for half an hour of both."""
