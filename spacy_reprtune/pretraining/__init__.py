"""Continued pretraining: text in, an adapted encoder directory out.

Plain torch. Only reading `.spacy` files needs spaCy.
"""
