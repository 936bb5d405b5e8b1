"""Programs of one's own that are measured as they are: what is asked for, and what they tell."""
