"""Networks that can be fine-tuned, behind one interface."""


# ~ One module a kind of network; each registers itself.


# ~ The networks that can be fine-tuned, behind one face: what a checkpoint of any of them can do.
