"""The OpenVLA architecture: network, processor, action tokens, and its checkpoint folders in the published layout."""
