"""Sources of images: folders, archives, tables and data sets, on this machine or in object storage.

items.py      an image before it is decoded, with its name and label
opening.py    open_source(): what kind of source a path, an address or an object is
folders.py    images below a folder
archives.py   members of zip and tar archives
packed.py     images in archives, WebDataset shards, Parquet tables and IDX files
datasets.py   data sets and iterables of Python
"""

from eoren.dataset.sources.items import Content, Item, Source, decode_content
from eoren.dataset.sources.opening import open_source

__all__ = ["Content", "Item", "Source", "decode_content", "open_source"]
