"""The checks of `reprtune check`, one module per subject: texts, labels, entities,
spans, pieces."""
