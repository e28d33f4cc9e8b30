"""Programs compiled for accelerators that are not here, and what their compilers say of them."""
