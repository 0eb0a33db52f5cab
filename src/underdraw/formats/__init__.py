"""Files of weights: checkpoints and the embedded layout."""
