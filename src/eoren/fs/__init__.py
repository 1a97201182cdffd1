"""Files: safe writing, and safe reading of files from untrusted sources.

files               atomic writes, inter-process locks, reading of regular files
streams             bytes and file objects as inputs and outputs
names               names of files as text for terminals and documents
decompression       bounded decompression of gzip, bzip2 and xz files
safetensors_layout  limits on the headers of safetensors files
"""
