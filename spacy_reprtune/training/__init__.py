"""Training besides the components: batchers, readers, the logger, SetFit, and experiments."""
