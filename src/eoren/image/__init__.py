"""Images as arrays: reading, writing, derivatives of sampled images."""
