"""Learning: one loop, and the tasks that it learns (autoencoder, CLIP, denoiser, ControlNet, reader)."""
