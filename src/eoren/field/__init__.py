"""The field: an image as a continuous function, and its file."""
