"""From the vectors of pieces to logits: pooling, and what is trained on top."""
