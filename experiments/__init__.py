"""Command-line programs on top of the library, and their presets and results."""
