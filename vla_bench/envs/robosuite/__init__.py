"""The robosuite engine: tasks with robosuite's scenes, controllers, rewards and success checks."""
