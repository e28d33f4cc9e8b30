"""What keeps a client's upload from the server."""
