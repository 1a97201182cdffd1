"""Files: atomic writes, locks, decompression, the safetensors layout."""
