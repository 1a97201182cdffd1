"""Fault injection: no failure may lose a user's files. `python -m benchmarks.faults --moments 200`.

survival.py   run work in separate processes, kill it at random moments, finish it, and check the files
refusals.py   run a command where it must fail: full and read-only disks, too little memory, missing files
fits.py       one image: fit, fit --resume, save, render
stores.py     many images: fit-many, new and resumed; one image in parts; exports of a store
compact.py    compact fields: fit, export, render, composition, fit-many
outputs.py    the other commands that write files: composition, gradients, exports, reports
"""
