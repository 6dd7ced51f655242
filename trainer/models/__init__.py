"""One file per model family, and in it the family's Config, Model and Processor."""
