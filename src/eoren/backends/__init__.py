"""Numerical backends: PyTorch and the native engine behind one interface.

base.py               the Backend protocol
dispatch.py           choice of the backend
block_coders.py       the BlockCoder protocol, and the coder in NumPy
torch.py              the PyTorch backend
backpropagation.py    its hand-written forward and backward passes
native.py             the native backend
native_training.py    its loss gradient and optimizers
native_coder.py       the native coder of latents
native_library.py     loading of the C++ library, and its structures
mosaic_evaluation.py  colour and derivatives of a mosaic from those of its tiles
latents               compact fields: evaluation, and the distortion of a fit
tile_evaluation.py    evaluation at all pixels of every tile
optimizers.py         Adam and Muon for batches of networks
"""
