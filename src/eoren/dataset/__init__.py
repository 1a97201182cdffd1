"""Data sets turned into networks, on one machine or many.

sources.py     where images come from: folders, archives, IDX files, data sets, iterables
archives.py    zip and tar, which may be damaged, or lie
fitting.py     fit_many(): from the first image to the last, whatever interrupts it
batches.py     images that are trained together
pieces.py      one very large image as many jobs
metrics.py     those of eoren.evaluation.metrics, for a whole batch at a time
workers.py     who works: threads, or a Ray cluster
store.py       shards and index, true at any moment
collection.py  a store as its users read it
"""
