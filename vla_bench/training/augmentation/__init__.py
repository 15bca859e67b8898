"""Changes to training samples that keep image, action and instruction true to each other."""
