"""What the engine of robosuite's environments is made of."""
