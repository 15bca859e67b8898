"""Networks that can be fine-tuned, behind one interface."""
