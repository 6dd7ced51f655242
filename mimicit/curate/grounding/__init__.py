"""What an answer names, held against what people annotated.

words       what WordNet does not know: what is no thing, colours, names for one thing
lexicon     word -> what it is in a picture, by WordNet, looked up once
reading     text -> things with number and colours
knowing     annotations -> what is there
sides       places
judging     text and annotations -> what is not borne out
grounded    that for a dataset: kept, and asked anew of what is new
"""
