"""Fine-tuned transformer encoders as spaCy components.

Importing this package costs nothing: spaCy finds the components through entry points.
"""

__version__ = "0.2.0"
