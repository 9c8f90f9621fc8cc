"""A teacher annotates unlabeled texts, and a smaller pipeline, the student, learns from them."""
