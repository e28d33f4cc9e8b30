"""Users become clients: dealt, stacked by length, divided among devices."""
