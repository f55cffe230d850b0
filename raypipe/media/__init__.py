"""Real media: the only place that imports av."""
