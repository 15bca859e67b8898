"""The OpenVLA architecture, its tokens, images, statistics and checkpoint folders. Knows nothing of environments."""
