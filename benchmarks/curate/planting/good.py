"""Good records in English: questions and answers about scenes, put together from enough parts that two are hardly ever alike."""

from __future__ import annotations

import random
from collections.abc import Callable

PEOPLE = (
    "man with a beard", "woman in a raincoat", "boy with a satchel", "girl in rubber boots", "old fisherman", "young cook", "cyclist", "postman",
    "gardener", "street musician", "tourist with a map", "nurse", "student", "painter on a ladder", "farmer", "waiter", "grandmother", "skater",
    "shopkeeper", "guard in uniform", "mother with a pram", "jogger", "carpenter", "librarian", "sailor", "ballet dancer", "mechanic", "teacher",
    "woman with curly hair", "man on crutches", "child on a tricycle", "bus driver", "beekeeper", "violinist", "surfer", "photographer",
)  # fmt: skip
ACTIONS = (
    "reading a newspaper", "peeling an orange", "waiting for a tram", "pushing a wheelbarrow", "tying a shoelace", "pouring tea into a cup",
    "feeding pigeons", "mending a net", "talking on the phone", "looking through binoculars", "carrying two crates", "sweeping the steps",
    "writing a postcard", "folding a tent", "watering tomatoes", "taking off a helmet", "playing the accordion", "choosing a melon",
    "climbing over a fence", "painting a door", "drinking from a bottle", "holding a kite by its string", "stirring a pot", "laughing at a puppy",
    "unlocking a bicycle", "lifting a suitcase", "buttering bread", "stretching after a run", "pointing at the sky", "sharpening a pencil",
    "stacking firewood", "braiding a rope", "checking a wristwatch", "throwing a frisbee", "polishing a brass lamp", "rolling out dough",
    "leaning against a wall", "rowing a small boat", "hanging up wet shirts", "counting coins",
)  # fmt: skip
PLACES = (
    "beside a fountain", "in front of a bakery", "on a wooden pier", "under a chestnut tree", "at the edge of a wheat field", "in a narrow alley",
    "on the platform of a small station", "behind a market stall", "near a lighthouse", "in a bright kitchen", "on a rocky beach", "by an open window",
    "at the foot of a staircase", "in a greenhouse", "on a crowded square", "next to a parked van", "in the shade of a bridge", "on a balcony",
    "along a gravel path", "in a workshop full of tools", "between two haystacks", "on a snowy slope", "inside a museum hall", "beside a frozen lake",
    "in the back row of a theatre", "at a bus shelter", "on a grassy hill", "in a cluttered attic", "outside a post office", "close to a campfire",
)  # fmt: skip
OBJECTS = (
    "umbrella", "bicycle", "teapot", "ladder", "suitcase", "guitar", "basket", "lantern", "clock", "bench", "kite", "mirror", "vase", "scooter",
    "blanket", "bucket", "typewriter", "globe", "candle", "canoe", "wheelbarrow", "pumpkin", "armchair", "bookshelf", "watering can", "drum", "rug",
    "kettle", "birdcage", "sled", "telescope", "mailbox", "hammock", "rocking horse", "piano", "anchor", "chessboard", "sewing machine", "tent",
    "cactus", "fishing rod", "radio", "backpack", "trumpet", "scarf", "bowl of cherries", "loaf of bread", "jar of honey", "stack of plates",
)  # fmt: skip
COUNTED = (
    "geese", "boats", "windows", "lemons", "candles", "chairs", "goats", "bottles", "balloons", "lamps", "sheep", "bicycles", "books", "cups", "flags",
    "pigeons", "barrels", "tulips", "umbrellas", "kites", "horses", "loaves", "stairs", "arches", "children", "pots",
)  # fmt: skip
COLOURS = (
    "red", "dark green", "pale blue", "yellow", "white", "black", "brown", "orange", "purple", "silver", "turquoise", "cream-colored", "pink", "gray",
)  # fmt: skip
LOOKS = (
    "rusty", "wooden", "shiny", "dented", "striped", "old", "tiny", "huge", "empty", "half-open", "broken", "freshly painted", "dusty", "wet",
    "folded", "checkered", "crooked", "heavy", "well-kept", "worn", "round", "narrow",
)  # fmt: skip
LIGHT = (
    "The light is soft, as on a cloudy afternoon", "Long shadows fall across the ground", "The sun stands low behind the roofs",
    "A thin mist hangs over everything", "It has just stopped raining, and the stones are still wet", "Strong daylight comes from the left",
    "The lamps are already lit", "Snow lies on every ledge", "The sky is clear and deep blue", "Dry leaves cover the ground",
    "Steam rises in the cold air", "Dusk is falling", "Bright noon light makes the colors strong", "A storm seems to be coming up",
)  # fmt: skip
MOODS = (
    "The whole scene feels calm", "Everyone seems to be in a hurry", "It looks like an ordinary working day", "There is something festive about it",
    "Nobody pays attention to the camera", "The place looks as if it had not changed for decades", "One can almost hear the noise",
    "It makes one think of a holiday", "The mood is cheerful", "It is a quiet moment", "The scene is a little chaotic", "Things look tidy and cared for",
)  # fmt: skip
RELATIONS = (
    "to the left of",
    "to the right of",
    "behind",
    "in front of",
    "just above",
    "below",
    "next to",
    "a few steps from",
)
NUMBERS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "a dozen",
)
REASONS = (
    "there is no one else around who could help", "the ground is still slippery from the rain", "the day is warm and there is little shade",
    "it must be finished before it gets dark", "the shop opens in a few minutes", "it is easier than carrying it all at once",
    "the wind is strong today", "that is how it has always been done here", "the others have already gone ahead", "the train is late again",
    "a guest is expected any minute", "it keeps the hands warm", "the view from there is the best", "the path behind is blocked",
)  # fmt: skip


class English:
    """Draws questions and answers."""

    language = "en"

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.shapes: tuple[tuple[Callable[[], tuple[str, str]], int], ...] = (
            (self.doing, 5), (self.where, 4), (self.colour, 3), (self.count, 3), (self.yes_no, 3), (self.why, 4), (self.describe, 3),
            (self.wearing, 3), (self.choice, 1), (self.compare, 2),
        )  # fmt: skip
        self.weights = [weight for _, weight in self.shapes]

    def pair(self) -> tuple[str, str]:
        [(shape, _)] = self.rng.choices(self.shapes, self.weights)
        return shape()

    def one(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def _draw(self, table: tuple[str, ...]) -> str:
        return self.rng.choice(table)

    def thing(self) -> str:
        """Return a thing with its looks: "rusty green lantern"."""
        return f"{self._draw(LOOKS)} {self._draw(OBJECTS)}"

    def sentence(self) -> str:
        """Return a sentence about something in the scene, without its stop."""
        draw = self._draw
        person, action, place, thing = draw(PEOPLE), draw(ACTIONS), draw(PLACES), self.thing()
        return self.one(
            f"{_a(person).capitalize()} is {action} {place}",
            f"{place.capitalize()} stands {_a(thing)}",
            f"{draw(NUMBERS).capitalize()} {draw(COUNTED)} can be seen {place}",
            f"There is {_a(thing)} {place}, and {_a(person)} is {action}",
            f"The {thing} {draw(RELATIONS)} the {draw(OBJECTS)} is {draw(COLOURS)}",
            f"Farther back, {_a(person)} with {_a(thing)} waits {place}",
            f"Somebody has left {_a(thing)} {place}",
            draw(LIGHT),
            f"{draw(MOODS)}, although {_a(person)} is {action}",
            f"The {person} holds {_a(thing)} while {draw(NUMBERS)} {draw(COUNTED)} {self.one('wait', 'stand about', 'lie')} {place}",
        )

    def more(self, least: int, most: int) -> str:
        said = dict.fromkeys(self.sentence() for _ in range(self.rng.randint(least, most)))
        return "".join(f" {sentence}." for sentence in said)

    def doing(self) -> tuple[str, str]:
        draw = self._draw
        person, place, action = draw(PEOPLE), draw(PLACES), draw(ACTIONS)
        question = self.one(
            f"What is the {person} doing {place}?", f"What does the {person} {place} do?", f"Can you tell what the {person} is busy with {place}?",
            f"The {person} {place}: what is going on there?",
        )  # fmt: skip
        answer = self.one(
            f"The {person} is {action} with {_a(self.thing())} at hand.", f"{_a(person).capitalize()} is {action}, right beside {_a(self.thing())}.",
            f"It looks like {action}, with {draw(NUMBERS)} {draw(COUNTED)} close by.",
        )  # fmt: skip
        return question, answer + self.more(0, 3)

    def where(self) -> tuple[str, str]:
        thing, other, place = self._draw(OBJECTS), self.thing(), self._draw(PLACES)
        relation = self._draw(RELATIONS)
        question = self.one(
            f"Where is the {thing} that belongs to the {self._draw(PEOPLE)}?", f"Where exactly can the {self._draw(COLOURS)} {thing} be found?",
            f"In which part of the scene is the {self._draw(LOOKS)} {thing}?",
        )  # fmt: skip
        return question, f"It is {relation} the {other}, {place}." + self.more(0, 2)

    def colour(self) -> tuple[str, str]:
        thing, colour = self.thing(), self._draw(COLOURS)
        place = self._draw(PLACES)
        return (
            self.one(f"What color is the {thing} {place}?", f"Which color does the {thing} {place} have?"),
            self.one(f"It is {colour}, unlike the {self._draw(OBJECTS)}.", f"The {thing} is {colour} with {_a(self._draw(COLOURS))} rim.") + self.more(0, 2),
        )  # fmt: skip

    def count(self) -> tuple[str, str]:
        counted, place, number = self._draw(COUNTED), self._draw(PLACES), self._draw(NUMBERS)
        question = self.one(
            f"How many {counted} are there {place}?",
            f"How many {self._draw(COLOURS)} {counted} do you count {place}?",
        )
        return question, self.one(
            f"I count {number} of them.",
            f"There are {number}.",
            f"{number.capitalize()} {counted} are there.",
        ) + self.more(0, 2)

    def yes_no(self) -> tuple[str, str]:
        thing, place, person = self.thing(), self._draw(PLACES), self._draw(PEOPLE)
        question = self.one(
            f"Is there {_a(thing)} {place}?",
            f"Does the {person} have {_a(thing)}?",
            f"Can {_a(thing)} be seen {place}?",
        )
        answer = self.one(
            f"Yes, {_a(thing)} is there.", f"No, only {_a(self.thing())}.", "Yes, it is.", f"No, but the {person} has {_a(self.thing())}.",
            f"Yes, {self._draw(RELATIONS)} the {self._draw(OBJECTS)}.",
        )  # fmt: skip
        return question, answer + self.more(0, 2)

    def why(self) -> tuple[str, str]:
        person, action, place = self._draw(PEOPLE), self._draw(ACTIONS), self._draw(PLACES)
        reason, other = self.rng.sample(REASONS, 2)
        question = self.one(
            f"Why is the {person} {action} {place}?", f"What could be the reason that the {person} is {action} {place}?",
            f"Why might the {person} prefer {action} {place}?",
        )  # fmt: skip
        answer = self.one(
            f"Most likely because {reason}. The {self.thing()} {place} points to that, and {other}.",
            f"Since {reason}, it makes sense to do so {place}. It also helps that {other}.",
            f"One reason is that {reason}; another may be that {other}.",
        )  # fmt: skip
        return question, answer + self.more(0, 3)

    def describe(self) -> tuple[str, str]:
        question = self.one(
            f"Describe what is to be seen {self._draw(PLACES)}, in detail.", f"Please tell me all about the scene with the {self._draw(PEOPLE)}.",
            f"How would you describe the part with the {self.thing()}?", f"Walk me through the scene around the {self._draw(OBJECTS)} {self._draw(PLACES)}.",
        )  # fmt: skip
        return question, self.more(4, 9).strip()

    def wearing(self) -> tuple[str, str]:
        person, garment = (
            self._draw(PEOPLE),
            self.one("coat", "sweater", "apron", "shirt", "dress", "jacket", "vest", "hat"),
        )
        question = self.one(
            f"What is the {person} wearing {self._draw(PLACES)}?",
            f"How is the {person} near the {self._draw(OBJECTS)} dressed?",
        )
        return (
            question,
            f"{self.one('He or she', 'That person', f'The {person}')} wears a {self._draw(COLOURS)} {garment} and carries {_a(self.thing())}."
            + self.more(0, 2),
        )

    def compare(self) -> tuple[str, str]:
        one, other = self.thing(), self.thing()
        return (
            f"Which is larger, the {one} or the {other}?",
            self.one(
                f"The {one} is clearly larger; the {other} would fit into it.",
                f"The {other}, since it reaches up to the {self._draw(OBJECTS)}.",
            ) + self.more(0, 2),
        )  # fmt: skip

    def choice(self) -> tuple[str, str]:
        options = self.rng.sample(OBJECTS, 4)
        right = self.rng.randrange(4)
        letter = "ABCD"[right]
        listed = "\n".join(f"{'ABCD'[n]}. {_a(option)}" for n, option in enumerate(options))
        question = f"What does the {self._draw(PEOPLE)} {self._draw(PLACES)} hold?\n{listed}"
        answer = self.one(
            f"{letter}. {_a(options[right])}",
            f"{letter}.",
            f"The answer is {letter}.",
            f"It is {_a(options[right])}.",
        )
        return question, answer


def _a(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' and not text.startswith('uni') else 'a'} {text}"
