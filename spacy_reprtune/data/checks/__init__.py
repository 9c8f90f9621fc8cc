"""The checks of `reprtune check`, a module per subject: texts, labels, entities, spans, pieces."""
