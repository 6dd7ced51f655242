"""The commands that ask models, one file each."""
