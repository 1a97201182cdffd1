"""Coding of integer latents: their order, contexts, probabilities, and the entropy coder. NumPy and integers alone.

Modules, from the bottom up:

- ``rans``: the entropy coder.
- ``bands``: latents of bands, blocks, phases, and their order.
- ``lowpass``: the low-pass band that contexts see.
- ``contexts``: what is known of a latent before it is coded.
- ``distributions``: probabilities of a latent given its mean and scale.
- ``context_model``: the network that predicts mean and scale from the context.
- ``block_coder``: coding of one block.
- ``parameters``: coding of steps and of the color decoder.
"""
