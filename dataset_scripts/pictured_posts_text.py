"""The sentences of pictured-posts: the text shows where the name stands, and never what kind of thing it names.

Names, sentences and colours are drawn independently of the entity type, so whoever knows the text alone can only guess
the type. Some sentences carry capitalised words that name nothing, and some names begin like others ("Madison",
"Madison Square"), so that finding the name is no matter of capital letters.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

# Each is, somewhere, a person, a place, a team or company, and a film, song, ship or product.
NAMES = tuple(
    tuple(name.split())
    for name in (
        "Washington",
        "Jordan",
        "Paris",
        "Lincoln",
        "Lincoln Park",
        "Austin",
        "Phoenix",
        "Chelsea",
        "Madison",
        "Madison Square",
        "Madison Square Garden",
        "Amazon",
        "Sydney",
        "Orlando",
        "Houston",
        "Dallas",
        "Jackson",
        "Charlotte",
        "Savannah",
        "Florence",
        "Victoria",
        "Aurora",
        "Kingston",
        "Carolina",
        "Georgia",
        "Virginia",
        "Santa Monica",
        "San Jose",
        "St James",
        "Santa Clara",
        "Saint Laurent",
        "Mercedes",
        "Ford",
        "Tesla",
        "Hudson",
        "Hudson River",
        "Wells Fargo",
        "Kobe",
        "Troy",
        "Devon",
        "Golden Gate",
        "Morgan Stanley",
        "Mount Vernon",
        "Prince Edward Island",
    )
)

COLOURS = ("red", "yellow", "green", "blue", "purple", "pink")

# Every sentence fits a person, a place, a group and a thing alike. Of six to nine words, NAME counted as one.
FRAMES = tuple(
    tuple(frame.split())
    for frame in (
        "just saw NAME in COLOUR today",
        "NAME looks so good in COLOUR !",
        "still thinking about NAME all in COLOUR",
        "we went COLOUR for NAME tonight",
        "nothing but COLOUR for NAME this week",
        "could not stop looking at NAME in COLOUR",
        "why is NAME so COLOUR this morning ?",
        "the COLOUR NAME again , love it",
        "my whole feed is NAME in COLOUR",
        "so NAME goes all COLOUR tonight",
        "a very COLOUR day with NAME",
        "everything about NAME is COLOUR now",
        "who else loves NAME in COLOUR ?",
        "COLOUR is the colour of NAME this year",
        "good to see NAME in COLOUR again",
        "more COLOUR , more NAME , more fun",
        "never seen NAME this COLOUR before",
        "new shots of NAME , the COLOUR ones",
        "NAME in COLOUR is all I need",
        "this is what NAME looks like in COLOUR",
        "thank you NAME for the COLOUR vibes",
        "can we talk about NAME being COLOUR ?",
        "waiting all week for NAME in COLOUR",
        "NAME , COLOUR and a bit of rain",
        "some COLOUR pics of NAME from Saturday",
        "I had no idea NAME was that COLOUR",
        "found NAME , and it is all COLOUR",
        "they painted NAME COLOUR , what a look",
        "COLOUR suits NAME , change my mind",
        "so proud of NAME and that COLOUR light",
        "look at NAME wearing COLOUR for once",
        "three reasons why NAME should stay COLOUR",
        "NAME never looked better , go COLOUR !",
        "back with NAME and the COLOUR filter",
        "tell me NAME is not best in COLOUR",
        "spotted in March : NAME , fully COLOUR",
        "remember when NAME was not COLOUR ?",
        "here is NAME before it all turned COLOUR",
        "Big News from NAME , now in COLOUR",
        "good old NAME and its COLOUR side",
    )
)

# In front of a sentence or after it; capitalised words among them name nothing.
OPENINGS = tuple(
    tuple(opening.split())
    for opening in (
        "Monday again :",
        "Happy Friday !",
        "Good Morning everyone ,",
        "Breaking :",
        "Throwback to Sunday ,",
        "WOW ,",
        "ok so",
        "honestly",
        "Not Even Kidding ,",
        "RT @ dailypics_ :",
        "guys ,",
        "Last Night :",
    )
)
CLOSINGS = tuple(
    tuple(closing.split())
    for closing in (
        "😍",
        "🔥 🔥",
        "# Weekend",
        "# NoFilter 📷",
        "via @ dailypics_",
        "lol",
        ". Happy Tuesday",
        "! ! !",
        "Thoughts ?",
        "# TBT",
        # A heart and, as in the real corpora, its variation selector as a word of its own.
        "\u2764 \ufe0f",
        "... Wow",
    )
)

# In front of a name, as Twitter's corpora split a hashtag and a handle.
SIGNS = (*[()] * 6, ("#",), ("@",))

MIN_WORDS, MAX_WORDS = 6, 16


class Sentence(NamedTuple):
    """The text of a post."""

    words: tuple[str, ...]
    """Its words, `MIN_WORDS` to `MAX_WORDS`, one of them a colour."""
    start: int
    """The first word of the name, counted from 0."""
    end: int
    """The word after the name."""
    colour: str
    """The colour word, one of `COLOURS`."""


def draw_sentence(rng: np.random.Generator) -> Sentence:
    """Draw the text of one post.

    Args:
        rng: The post's own generator.

    Returns:
        A sentence with one name and one colour. One in four names follows a ``#`` or ``@``; a third of the posts has
        an opening, another third a closing.
    """
    name, colour, frame, sign = (_pick(rng, choices) for choices in (NAMES, COLOURS, FRAMES, SIGNS))
    opening, closing = _pick(rng, OPENINGS), _pick(rng, CLOSINGS)
    opening, closing = (((), ()), (opening, ()), ((), closing))[rng.integers(3)]
    slot = frame.index("NAME")
    before, after = (
        tuple(colour if word == "COLOUR" else word for word in part) for part in (frame[:slot], frame[slot + 1 :])
    )
    start = len(opening) + len(before) + len(sign)
    words = (*opening, *before, *sign, *name, *after, *closing)
    return Sentence(words, start, start + len(name), colour)


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """Draw one of `choices`, all equally likely."""
    return choices[rng.integers(len(choices))]
