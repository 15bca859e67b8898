"""The Gymnasium vector environment, and the memory in which worker processes share images."""
