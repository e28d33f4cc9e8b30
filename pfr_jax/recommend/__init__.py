"""What a trained federation is for: predictions and lists, for its users and for new ones."""
