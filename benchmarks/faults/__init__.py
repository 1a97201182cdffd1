"""What happens to a user's files when things go wrong: `python -m benchmarks.faults --moments 200`.

survival.py   work in processes of its own, killed at random moments, finished, looked at
refusals.py   a command where it cannot do its work: full disks, read-only ones, little memory, vanished files
fits.py       one image: fit, fit --resume, save, render
stores.py     many images: fit-many, from the first and resumed; one in pieces; what is exported from a store
outputs.py    the other commands that write: composition, gradients, exports, reports
"""
