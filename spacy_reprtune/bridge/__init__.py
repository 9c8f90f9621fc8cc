"""The edge to thinc and to spaCy's configs: shim, architectures, optimizer and listeners."""
