"""Turn a dataset folder into a vision-language model."""
