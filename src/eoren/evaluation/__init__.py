"""Quality of a field against its image."""
