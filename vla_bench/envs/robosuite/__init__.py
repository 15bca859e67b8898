"""robosuite's environments as an engine: its scenes, controllers, rewards and success checks."""
