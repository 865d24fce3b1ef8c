"""A small photo gallery: its catalogue, thumbnails, contact sheets, and a cache of pictures.

Some of it is wasteful or leaks, on purpose: the tests show how that is found.
"""
