"""Vector environments in worker processes with shared memory."""
