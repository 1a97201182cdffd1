"""Fitting of many images, on one machine or a cluster, into a store of networks or of compact fields.

sources/          images from folders, archives, tables, data sets and iterables, also in object storage
fit_many.py       fit_many(): fit all images of a source, and continue after an interruption
planning.py       settings of a run, images in a shard, and an estimate of what it will cost
progress.py       progress, notes and errors of a run, and its record in the store
shards.py         images that are fitted and stored together
tile_jobs.py      one very large image as many jobs
executors.py      threads of this machine, or a Ray cluster
store.py          the files of a store: fields in shards, and their index
groups.py         a fitted shard: networks of images of one size, or compact fields, and their rows
index.py          the index: one row per image, in Parquet
collection.py     Collection: read access to a store
weights.py        its images as rows of weights
torch_datasets.py rows of weights, or latents, as data sets of PyTorch
"""
