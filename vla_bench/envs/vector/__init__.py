"""Many environments at once, in processes that share memory."""
