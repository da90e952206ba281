"""Random words and noun phrases for the sentences of the demo task."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gelora_cli.data.inflection import plural


@dataclass(frozen=True)
class Action:
    """A verb that must have an object, an object for it, and the word that asks for the object."""

    verb: str
    thing: str
    wh: str


class Words:
    """Random words of one split's vocabulary: each list is dealt like a deck of cards, so all come equally often."""

    def __init__(self, vocabulary: Mapping[str, Sequence[str]], rng: random.Random) -> None:
        self.rng = rng
        self.drawn: list[str] = []
        self._vocabulary = vocabulary
        self._decks: dict[str, list[str]] = {kind: [] for kind in vocabulary}

    def draw(self, *kinds: str) -> str:
        """The next word of one of `kinds`, each taken in proportion to its size."""
        kind = self.rng.choices(kinds, [len(self._vocabulary[kind]) for kind in kinds])[0]
        deck = self._decks[kind]
        if not deck:
            deck.extend(self._vocabulary[kind])
            self.rng.shuffle(deck)
        self.drawn.append(deck.pop())
        return self.drawn[-1]

    def pick(self, *choices: str) -> str:
        """One of `choices`: function words, which all splits share."""
        return self.rng.choice(choices)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def determiner(self) -> str:
        """A determiner that goes with both numbers, most often "the"."""
        return self.pick("the", "the", "the", "my", "our", "your", "their")

    def person(self, *kinds: str) -> tuple[str, str]:
        """A noun phrase for a person, singular and plural."""
        adjective = self.draw("person adjective") if self.chance(0.25) else ""
        start, noun = f"{self.determiner()} {adjective}", self.draw(*kinds or ("person", "man", "woman"))
        return f"{start} {noun}", f"{start} {plural(noun)}"

    def someone(self) -> str:
        """One person: a noun phrase or a name."""
        return self.draw("man's name", "woman's name") if self.chance(0.25) else self.person()[0]

    def something(self) -> str:
        """A noun phrase for a thing, singular or plural."""
        noun, adjective = self.draw("thing"), self.draw("thing adjective") if self.chance(0.25) else ""
        return f"{self.determiner()} {adjective} {self.pick(noun, plural(noun))}"

    def place(self) -> str:
        """Where something happens, or nothing."""
        return f"{self.pick('in', 'near', 'outside')} the {self.draw('place')}" if self.chance(0.5) else ""

    def action(self, progressive: bool = False) -> Action:
        """Something done to a person or a thing; the verbs of having go without if it is to be `progressive`."""
        if self.chance(0.5):
            return Action(self.draw("person verb", "reflexive verb"), self.person()[0], "who")
        return Action(self.draw("thing verb", *[] if progressive else ["goods verb"]), self.something(), "what")
