"""The factored engine's round of a block in C++, where a compiler is found."""
