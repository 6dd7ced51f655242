"""The MIMIC-IT dataset: a folder of instruction records and pictures, open to plain SQL."""
