"""Pictures to learn from: the two worlds, image folders, batches."""
