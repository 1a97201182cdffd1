"""Fitting and editing images from the page.

session  the running fit, the token of the page, and writing fields
editing  clone, fill and retouch of entries
api      their routes
"""
