"""What people do with recorded runs: compare experiments, score them, judge them."""
