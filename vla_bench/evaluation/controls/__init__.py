"""What a policy does when it is not told, or not shown, what the task is; and the ceiling and floors beside it."""
