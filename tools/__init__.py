"""Scripts that make what the library ships."""
