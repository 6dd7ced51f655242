"""The names of the formats, apart from what they load: `--help` prints them."""

FORMATS = (
    "m3it", "llavar", "lrv", "svit", "rlhfv", "rlaifv", "llava_rlhf",
    "mimicit", "llava", "sharegpt", "msswift", "openai", "datajuicer", "trl", "hf", "webdataset",
)  # fmt: skip
"""Modules of `mimicit.formats`, and what users type. Files are tried in this order: the first that recognises one reads it."""
