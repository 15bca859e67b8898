"""The tasks of ours that stand for their engines."""

TABLETOP = "tabletop_object.red_cube_in_basket"
ROBOSUITE = "robosuite.lift"
ENGINES = {"tabletop": TABLETOP, "robosuite": ROBOSUITE}
