"""The machine as its users get it: who starts ranks, who queues jobs, what a site demands."""
