"""The phenomena of the demo task: each makes two minimal pairs of sentences.

An asterisk in a docstring marks the word that is not acceptable. Every call of the random generator counts: the order
of the draws is part of the task (see `demo.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from gelora_cli.data.demo_words import Words
from gelora_cli.data.inflection import gerund, participle, past, plural, third_person

Pair = tuple[str, str]
"""A minimal pair: the acceptable sentence and the other one."""
Grid = tuple[Pair, Pair]


def make_subject_verb_agreement(words: Words) -> Grid:
    """Make pairs such as: the teachers *is / are tired."""
    return _make_agreement(words, "")


def make_agreement_across_attractor(words: Words) -> Grid:
    """Make pairs such as: the teachers behind the door *is / are tired."""
    someone = words.pick(*words.person())
    relative = words.pick("who", "that")
    action = words.action()
    verb = past(words.draw("person verb", "reflexive verb"))
    attractors = (
        f"{words.pick('near', 'behind', 'beside', 'with')} {words.pick(someone, action.thing)}",
        f"{relative} {past(action.verb)} {action.thing}",
        f"{relative} {someone} {verb}",
    )
    # The first one is named twice: half of the attractors are phrases with a preposition.
    return _make_agreement(words, words.pick(attractors[0], *attractors))


def _make_agreement(words: Words, between: str) -> Grid:
    """Make two subjects, the words `between`, and two verbs, each of which agrees with one of the subjects."""
    forms, rest = _finite_verb(words)
    one, many = words.person()
    return _cross((f"{one} {between} {{}} {rest}", f"{many} {between} {{}} {rest}"), forms)


def _finite_verb(words: Words) -> tuple[tuple[str, str], str]:
    """Return the singular and the plural form of a finite verb, and what follows it."""
    if words.chance(0.5):
        forms = ("is", "are") if words.chance(0.5) else ("was", "were")
        return forms, words.draw("person adjective")
    verb, rest = _verb_phrase(words)
    if words.chance(0.5):
        return ("has", "have"), f"{participle(verb)} {rest}"
    return (third_person(verb), verb), rest


def _verb_phrase(words: Words) -> tuple[str, str]:
    """Return a verb in its base form, and its object or perhaps a place."""
    if words.chance(0.5):
        return words.draw("intransitive"), words.place()
    action = words.action()
    return action.verb, action.thing


def make_reflexive_gender(words: Words) -> Grid:
    """Make pairs such as: the queen blamed *himself / herself."""
    # The names are drawn even if nouns replace them: the draws before a sentence must stay the same.
    subjects = words.draw("man's name"), words.draw("woman's name")
    if words.chance(0.6):
        determiner = words.determiner()
        subjects = f"{determiner} {words.draw('man')}", f"{determiner} {words.draw('woman')}"
    return _make_reflexive(words, subjects, ("himself", "herself"))


def make_reflexive_number(words: Words) -> Grid:
    """Make pairs such as: the kings blamed *himself / themselves."""
    kind, pronoun = ("man", "himself") if words.chance(0.5) else ("woman", "herself")
    return _make_reflexive(words, words.person(kind), (pronoun, "themselves"))


def _make_reflexive(words: Words, subjects: tuple[str, str], pronouns: tuple[str, str]) -> Grid:
    rest = f"{past(words.draw('reflexive verb'))} {{}} {words.place()}"
    return _cross((f"{subjects[0]} {rest}", f"{subjects[1]} {rest}"), pronouns)


def make_argument_structure(words: Words) -> Grid:
    """Make pairs such as: the king *sneezed / admired the singer, and: the king sneezed / *admired."""
    action = words.action()
    subject = words.someone()
    place = words.place()
    verbs = past(action.verb), past(words.draw("intransitive"))
    return _cross((f"{subject} {{}} {action.thing} {place}", f"{subject} {{}} {place}"), verbs)


def make_adjective_order(words: Words) -> Grid:
    """Make pairs such as: the king repaired *the lamp wooden / the wooden lamp."""

    def make_pair() -> Pair:
        noun = words.draw("thing")
        adjective = words.draw("thing adjective")
        frame = f"{words.someone()} {past(words.draw('thing verb'))} {words.determiner()} {{}} {{}} {words.place()}"
        noun = words.pick(noun, plural(noun))
        return _pair(frame.format(adjective, noun), frame.format(noun, adjective))

    return make_pair(), make_pair()


def make_verb_order(words: Words) -> Grid:
    """Make pairs such as: the king *the lamp repaired / repaired the lamp."""

    def make_pair() -> Pair:
        subject = words.person()[0]
        thing = words.something()
        place = words.place()
        verb = past(words.draw("thing verb", "goods verb"))
        unacceptable = words.pick(f"{subject} {thing} {verb} {place}", f"{verb} {subject} {thing} {place}")
        return _pair(f"{subject} {verb} {thing} {place}", unacceptable)

    return make_pair(), make_pair()


def make_inversion(words: Words) -> Grid:
    """Make pairs such as: what *the king will / will the king repair? And: the queen knew what *will the king repair.

    A question inverts subject and auxiliary, an embedded question does not.
    """
    action = words.action()
    subject = words.someone()
    other = words.someone()
    auxiliary = words.pick("will", "can", "should", "must", "would", "could")
    wh, rest = action.wh, action.verb
    if words.chance(0.5):
        wh, rest = words.pick("when", "where", "why"), f"{action.verb} {action.thing}"
    question = f"{wh} {{}} {rest}?"
    embedded = f"{other} {past(words.draw('question verb'))} {wh} {{}} {rest}"
    return _cross((question, embedded), (f"{auxiliary} {subject}", f"{subject} {auxiliary}"))


def make_question_gap(words: Words) -> Grid:
    """Make pairs such as: *when / what did the king repair? And: when / *what did the king repair the lamp?"""
    action = words.action()
    start = f"{{}} did {words.someone()}"
    fillers = action.wh, words.pick("when", "where", "why")
    return _cross((f"{start} {action.verb}?", f"{start} {action.verb} {action.thing}?"), fillers)


def make_auxiliary_form(words: Words) -> Grid:
    """Make pairs such as: the king has *examining / examined the lamp, and: the king is examining / *examined it."""
    action = words.action(progressive=True)
    subject = words.someone()
    forms = [
        (words.pick("will", "can", "should", "must"), action.verb),
        (words.pick("has", "had"), participle(action.verb)),
        (words.pick("is", "was"), gerund(action.verb)),
    ]
    (one, first), (two, second) = words.rng.sample(forms, 2)
    return _cross((f"{subject} {one} {{}} {action.thing}", f"{subject} {two} {{}} {action.thing}"), (first, second))


def make_polarity(words: Words) -> Grid:
    """Make pairs such as: the king did not laugh *too / either, and: he did not laugh, and *so / neither did she."""
    verb, rest = _verb_phrase(words)
    subject = words.someone()
    positive = f"{subject} {past(verb)} {rest}".strip()
    negative = f"{subject} did not {verb} {rest}".strip()
    if words.chance(0.5):
        return _cross((f"{positive} {{}}", f"{negative} {{}}"), ("too", "either"))
    end = f", and {{}} did {words.someone()}"
    return _cross((positive + end, negative + end), ("so", "neither"))


def make_pronoun_case(words: Words) -> Grid:
    """Make pairs such as: he / *him admired the singer, and: the singer admired *he / him."""
    pronouns = words.rng.choice([("he", "him"), ("she", "her"), ("we", "us"), ("they", "them")])
    verb = past(words.draw("person verb", "reflexive verb"))
    other = words.someone()
    place = words.place()
    return _cross((f"{{}} {verb} {other} {place}", f"{other} {verb} {{}} {place}"), pronouns)


def make_tense_adverb(words: Words) -> Grid:
    """Make pairs such as: the king laughed yesterday / *tomorrow, and: next week / *last week the king will laugh."""
    verb, rest = _verb_phrase(words)
    subject = words.someone()
    unit = words.pick("day", "week", "month", "year")
    adverbs = ("yesterday", "tomorrow") if unit == "day" else (f"last {unit}", f"next {unit}")
    clauses = f"{subject} {past(verb)} {rest}", f"{subject} will {verb} {rest}"
    frame = words.pick("{{}} {}", "{} {{}}")  # the adverb in front or at the end
    return _cross((frame.format(clauses[0]), frame.format(clauses[1])), adverbs)


def _cross(contexts: tuple[str, str], fillers: tuple[str, str]) -> Grid:
    """Return the grid in which context i, with its slot `{}`, accepts filler i only."""
    one, two = contexts
    first, second = fillers
    return _pair(one.format(first), one.format(second)), _pair(two.format(second), two.format(first))


def _pair(acceptable: str, unacceptable: str) -> Pair:
    return _write_sentence(acceptable), _write_sentence(unacceptable)


def _write_sentence(text: str) -> str:
    """Return the words with single spaces and a capital at the start, and a full stop unless it is a question."""
    text = " ".join(text.split())
    end = "" if text.endswith("?") else "."
    return text[0].upper() + text[1:] + end


PHENOMENA: dict[str, Callable[[Words], Grid]] = {
    "subject_verb_agreement": make_subject_verb_agreement,
    "agreement_across_attractor": make_agreement_across_attractor,
    "reflexive_gender": make_reflexive_gender,
    "reflexive_number": make_reflexive_number,
    "argument_structure": make_argument_structure,
    "adjective_order": make_adjective_order,
    "verb_order": make_verb_order,
    "inversion": make_inversion,
    "question_gap": make_question_gap,
    "auxiliary_form": make_auxiliary_form,
    "polarity": make_polarity,
    "pronoun_case": make_pronoun_case,
    "tense_adverb": make_tense_adverb,
}
"""Name -> maker of a grid, in the order in which the sentences are drawn."""
