"""Inflect English nouns and verbs: the rules and exceptions that the words of the demo task need."""

from __future__ import annotations

IRREGULAR_PLURALS = {"child": "children", "thief": "thieves", "wife": "wives", "shelf": "shelves", "knife": "knives"}

IRREGULAR_VERBS = {
    "buy": ("bought", "bought"),
    "bring": ("brought", "brought"),
    "keep": ("kept", "kept"),
    "find": ("found", "found"),
    "hold": ("held", "held"),
    "sleep": ("slept", "slept"),
    "kneel": ("knelt", "knelt"),
    "weep": ("wept", "wept"),
    "understand": ("understood", "understood"),
    "take": ("took", "taken"),
    "know": ("knew", "known"),
    "forget": ("forgot", "forgotten"),
}
"""Base form -> past tense and past participle."""

DOUBLING = frozenset({"grab", "hug", "kidnap", "chat", "grin", "nod", "sob", "forget"})
"""Verbs whose last letter is doubled before -ed and -ing."""


def plural(noun: str) -> str:
    """Return the plural of a count noun."""
    if noun.endswith("man"):
        return noun[:-3] + "men"
    return IRREGULAR_PLURALS.get(noun) or _with_s(noun)


def third_person(verb: str) -> str:
    """Return the third person singular of the present tense."""
    return _with_s(verb)


def past(verb: str) -> str:
    """Return the past tense."""
    return IRREGULAR_VERBS[verb][0] if verb in IRREGULAR_VERBS else _with_ed(verb)


def participle(verb: str) -> str:
    """Return the past participle."""
    return IRREGULAR_VERBS[verb][1] if verb in IRREGULAR_VERBS else _with_ed(verb)


def gerund(verb: str) -> str:
    """Return the form in -ing."""
    stem = verb[:-1] if verb.endswith("e") else _double_last_letter(verb)
    return stem + "ing"


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _with_ed(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return verb[:-1] + "ied"
    return _double_last_letter(verb) + "ed"


def _double_last_letter(verb: str) -> str:
    return verb + verb[-1] if verb in DOUBLING else verb
