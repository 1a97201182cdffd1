"""Files and objects: safe writing, and safe reading of files from untrusted sources.

files               atomic writes, inter-process locks, reading of regular files
folders             one interface of a folder of this machine and one in object storage
objects             objects in S3 and other services, by fsspec: retries, errors of one line
leases              what locks are to files: who is at work in a folder of objects
streams             bytes and file objects as inputs and outputs
names               names of files as text for terminals and documents
decompression       bounded decompression of gzip, bzip2 and xz files
safetensors_layout  limits on the headers of safetensors files
parquet_layout      bounds of a Parquet file, checked before it is decoded
ranged_tensors      tensors of a remote safetensors file, read by ranges
"""
