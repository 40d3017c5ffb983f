"""Kedro pipelines: thin stages over the library."""
