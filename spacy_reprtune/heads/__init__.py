"""From the vectors of pieces to logits: pooling and the heads on top."""
