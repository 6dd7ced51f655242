"""Commands of `syphus` that need the trainer."""
