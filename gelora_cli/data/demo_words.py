"""Random words and noun phrases for the sentences of the demo task.

Every call of the random generator counts: the order of the draws is part of the task (see `demo.py`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gelora_cli.data.inflection import plural


@dataclass(frozen=True)
class Action:
    """A verb that must have an object, an object for it, and the word that asks for the object (who, what)."""

    verb: str
    thing: str
    wh: str


class Words:
    """Random words of one split's vocabulary.

    Each list of words is dealt like a deck of cards, so that all its words come equally often.
    """

    def __init__(self, vocabulary: Mapping[str, Sequence[str]], rng: random.Random) -> None:
        """Take a vocabulary (kind -> words) and the generator, which all splits share."""
        self.rng = rng
        self.drawn: list[str] = []  # content words of the current grid
        self._vocabulary = vocabulary
        self._decks: dict[str, list[str]] = {kind: [] for kind in vocabulary}

    def draw(self, *kinds: str) -> str:
        """Return the next word of one of `kinds`, each of which is chosen in proportion to its size."""
        kind = self.rng.choices(kinds, [len(self._vocabulary[kind]) for kind in kinds])[0]
        deck = self._decks[kind]
        if not deck:
            deck.extend(self._vocabulary[kind])
            self.rng.shuffle(deck)
        word = deck.pop()
        self.drawn.append(word)
        return word

    def pick(self, *choices: str) -> str:
        """Return one of `choices`, which are function words: all splits share them."""
        return self.rng.choice(choices)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability

    def determiner(self) -> str:
        """Return a determiner that goes with both numbers, most often "the"."""
        return self.pick("the", "the", "the", "my", "our", "your", "their")

    def person(self, *kinds: str) -> tuple[str, str]:
        """Return a noun phrase for a person, in the singular and in the plural."""
        adjective = self.draw("person adjective") if self.chance(0.25) else ""
        start = f"{self.determiner()} {adjective}"
        noun = self.draw(*kinds or ("person", "man", "woman"))
        return f"{start} {noun}", f"{start} {plural(noun)}"

    def someone(self) -> str:
        """Return one person: a noun phrase or a name."""
        if self.chance(0.25):
            return self.draw("man's name", "woman's name")
        return self.person()[0]

    def something(self) -> str:
        """Return a noun phrase for a thing, in the singular or in the plural."""
        noun = self.draw("thing")
        adjective = self.draw("thing adjective") if self.chance(0.25) else ""
        return f"{self.determiner()} {adjective} {self.pick(noun, plural(noun))}"

    def place(self) -> str:
        """Return where something happens, or an empty string."""
        if self.chance(0.5):
            return f"{self.pick('in', 'near', 'outside')} the {self.draw('place')}"
        return ""

    def action(self, progressive: bool = False) -> Action:
        """Return something that is done to a person or a thing.

        Verbs of having (the kind "goods verb") are left out of a `progressive` action: "is owning" is odd.
        """
        if self.chance(0.5):
            return Action(self.draw("person verb", "reflexive verb"), self.person()[0], "who")
        kinds = ["thing verb"] if progressive else ["thing verb", "goods verb"]
        return Action(self.draw(*kinds), self.something(), "what")
