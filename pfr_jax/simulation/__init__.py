"""From settings to rounds."""
