"""From text to vectors, in plain torch: nothing here imports spaCy or thinc.

    text -> pieces -> windows -> batches -> blocks -> vectors

Each step knows the steps to its left and none to its right.
"""
