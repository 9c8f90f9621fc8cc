"""What `reprtune check` looks for, one module per kind: texts, labels, entities, pieces."""
