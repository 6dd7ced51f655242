"""What is asked of the model: the kind of question, and in English its verb and its noun, as in the circle of self-instruct.

    Describe the scene in detail.         describe   describe  scene
    What is the man holding?              what       hold      man
    What color is the car?                what       be        color
    How many dogs are there?              how many   count     dog
    Is the woman wearing a hat?           yes-no     wear      hat
    Can you tell me where the cat is?     where      be        cat

The verb is the main one; the noun is what is asked for ("what color", "how many dogs"), else the object of the verb, else its subject, else
the first noun that comes. There is no model in it: closed lists, the forms of verbs, and WordNet's counts of what a word mostly is.

closed      words of closed classes
lexicon     word -> what it may be, by WordNet
kinds       text -> kind of question, in eight languages
clause      English clause -> its verb and its noun
question    text -> all three; and that for a dataset, as the measure `asks`
"""
