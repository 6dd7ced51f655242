"""Ask language models for instruction–response pairs about pictures that people have annotated."""
