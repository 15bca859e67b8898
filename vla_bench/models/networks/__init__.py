"""The networks that can be fine-tuned, behind one face: what a checkpoint of any of them can do."""
