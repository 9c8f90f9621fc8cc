"""Package trained pipelines as wheels that install and load without a network."""
