"""Continued masked-language-model pretraining: text in, an adapted encoder directory out.

Plain torch; nothing here needs spaCy but reading `.spacy` files.
"""
