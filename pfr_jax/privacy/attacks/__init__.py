"""What a curious server learns from what it is sent, measured beside guesses without it."""
