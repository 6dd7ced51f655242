"""The longer commands of `syphus data`, one module each."""
