"""Fitting of many images, on one machine or a cluster, into a store of networks or of compact fields.

sources.py     images from folders, archives, IDX files, data sets and iterables
archives.py    members of zip and tar archives
fit_many.py    fit_many(): fit all images of a source, and continue after an interruption
shards.py      images that are fitted and stored together
tile_jobs.py   one very large image as many jobs
executors.py   threads of this machine, or a Ray cluster
store.py       the files of a store: fields in shards, and their index
groups.py      networks of images of one size, or compact fields, in the file of a shard
index.py       the index: one row per image, in Parquet
parquet.py     bounds check of a Parquet file before it is decoded
collection.py  Collection: read access to a store
weights.py     weights of a function as one row, and back
"""
