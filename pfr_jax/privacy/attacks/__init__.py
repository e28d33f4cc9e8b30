"""What a curious server finds out from what it is sent."""
