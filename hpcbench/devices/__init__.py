"""What this process computes on: cores, GPUs, and what their drivers count."""
