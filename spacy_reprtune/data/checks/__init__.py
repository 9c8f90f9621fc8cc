"""What `reprtune check` looks for, a module a kind: texts, labels, entities, pieces."""
