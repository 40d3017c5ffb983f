"""Preparing the corpus, mixing, training and evaluating."""
