"""What a record means, so that others that mean the same are found, or as different ones as can be are chosen.

A vector says what a text is about and misses what turns it around, so two records are one only if their vectors are alike
and nothing keeps them apart.

vectors     record -> vector, made once; and which records are compared
words       words that keep two texts apart, and those that say nothing
synonyms    words that mean the same, by WordNet
guard       two texts -> whether something keeps them apart
"""
