"""From text to vectors: plain torch, no spaCy.

    text -> pieces -> windows -> batches -> blocks -> vectors

Each module knows the ones to its left and none to its right. Only `architecture.py`, which hands
the encoder to spaCy's configs, knows `Doc` and thinc.
"""
