"""What a run leaves behind and shows: files, tables."""
