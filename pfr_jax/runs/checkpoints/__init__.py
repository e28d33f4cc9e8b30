"""What a run needs to go on after an interruption, on disk."""
