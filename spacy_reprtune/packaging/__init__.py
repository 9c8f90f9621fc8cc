"""From a trained pipeline to wheels that install and load without a network."""
