"""One module a fine-tuning method; each registers itself. They load torch only when one is put on a network."""
