"""The phenomena of the demo task: each makes two minimal pairs of sentences."""

from __future__ import annotations

from collections.abc import Callable

from gelora_cli.data.demo_words import Words
from gelora_cli.data.inflection import gerund, participle, past, plural, third_person

Pair = tuple[str, str]

Grid = tuple[Pair, Pair]


def _cross(contexts: tuple[str, str], fillers: tuple[str, str]) -> Grid:
    """Context i, with its slot `{}`, accepts filler i only."""
    (one, two), (first, second) = contexts, fillers
    return _pair(one.format(first), one.format(second)), _pair(two.format(second), two.format(first))


def _pair(good: str, bad: str) -> Pair:
    """A minimal pair, written as sentences."""
    return _sentence(good), _sentence(bad)


def _sentence(text: str) -> str:
    """Words separated by single spaces, a capital at the start and a full stop at the end, unless it is a question."""
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")


def _subject_verb_agreement(words: Words) -> Grid:
    """The teachers *is / are tired."""
    return _agreement(words, "")


def _agreement_across_attractor(words: Words) -> Grid:
    """The teachers behind the door *is / are tired; the teachers who admired the king *is / are tired."""
    someone, relative = words.pick(*words.person()), words.pick("who", "that")
    action, verb = words.action(), past(words.draw("person verb", "reflexive verb"))
    attractors = (
        f"{words.pick('near', 'behind', 'beside', 'with')} {words.pick(someone, action.thing)}",
        f"{relative} {past(action.verb)} {action.thing}",
        f"{relative} {someone} {verb}",
    )
    return _agreement(words, words.pick(attractors[0], *attractors))


def _agreement(words: Words, between: str) -> Grid:
    """Subjects in both numbers, the same words `between`, and verbs of which each agrees with one subject."""
    forms, rest = _predicate(words)
    one, many = words.person()
    return _cross((f"{one} {between} {{}} {rest}", f"{many} {between} {{}} {rest}"), forms)


def _predicate(words: Words) -> tuple[tuple[str, str], str]:
    """The singular and the plural form of a finite verb, and what follows it."""
    if words.chance(0.5):
        return (("is", "are") if words.chance(0.5) else ("was", "were")), words.draw("person adjective")
    verb, rest = _verb_phrase(words)
    return (("has", "have"), f"{participle(verb)} {rest}") if words.chance(0.5) else ((third_person(verb), verb), rest)


def _verb_phrase(words: Words) -> tuple[str, str]:
    """A verb in its base form, with its object or perhaps with a place."""
    if words.chance(0.5):
        return words.draw("intransitive"), words.place()
    action = words.action()
    return action.verb, action.thing


def _reflexive_gender(words: Words) -> Grid:
    """The queen blamed *himself / herself."""
    subjects = words.draw("man's name"), words.draw("woman's name")
    if words.chance(0.6):
        determiner = words.determiner()
        subjects = f"{determiner} {words.draw('man')}", f"{determiner} {words.draw('woman')}"
    return _reflexive(words, subjects, ("himself", "herself"))


def _reflexive_number(words: Words) -> Grid:
    """The kings blamed *himself / themselves."""
    kind, pronoun = ("man", "himself") if words.chance(0.5) else ("woman", "herself")
    return _reflexive(words, words.person(kind), (pronoun, "themselves"))


def _reflexive(words: Words, subjects: tuple[str, str], pronouns: tuple[str, str]) -> Grid:
    rest = f"{past(words.draw('reflexive verb'))} {{}} {words.place()}"
    return _cross((f"{subjects[0]} {rest}", f"{subjects[1]} {rest}"), pronouns)


def _argument_structure(words: Words) -> Grid:
    """The king *sneezed / admired the singer; the king sneezed / *admired."""
    action, subject, place = words.action(), words.someone(), words.place()
    verbs = past(action.verb), past(words.draw("intransitive"))
    return _cross((f"{subject} {{}} {action.thing} {place}", f"{subject} {{}} {place}"), verbs)


def _adjective_order(words: Words) -> Grid:
    """The king repaired *the lamp wooden / the wooden lamp."""

    def pair() -> Pair:
        noun, adjective = words.draw("thing"), words.draw("thing adjective")
        frame = f"{words.someone()} {past(words.draw('thing verb'))} {words.determiner()} {{}} {{}} {words.place()}"
        noun = words.pick(noun, plural(noun))
        return _pair(frame.format(adjective, noun), frame.format(noun, adjective))

    return pair(), pair()


def _verb_order(words: Words) -> Grid:
    """The king *the lamp repaired / repaired the lamp; *repaired the king the lamp / the king repaired the lamp."""

    def pair() -> Pair:
        subject, thing, place = words.person()[0], words.something(), words.place()
        verb = past(words.draw("thing verb", "goods verb"))
        bad = words.pick(f"{subject} {thing} {verb} {place}", f"{verb} {subject} {thing} {place}")
        return _pair(f"{subject} {verb} {thing} {place}", bad)

    return pair(), pair()


def _inversion(words: Words) -> Grid:
    """What *the king will / will the king repair? And embedded: the queen knew what the king will / *will the king."""
    action, subject, other = words.action(), words.someone(), words.someone()
    auxiliary = words.pick("will", "can", "should", "must", "would", "could")
    wh, rest = action.wh, action.verb
    if words.chance(0.5):
        wh, rest = words.pick("when", "where", "why"), f"{action.verb} {action.thing}"
    contexts = f"{wh} {{}} {rest}?", f"{other} {past(words.draw('question verb'))} {wh} {{}} {rest}"
    return _cross(contexts, (f"{auxiliary} {subject}", f"{subject} {auxiliary}"))


def _question_gap(words: Words) -> Grid:
    """*When / what did the king repair? When / *what did the king repair the lamp?"""
    action, rest = words.action(), f"{{}} did {words.someone()}"
    fillers = action.wh, words.pick("when", "where", "why")
    return _cross((f"{rest} {action.verb}?", f"{rest} {action.verb} {action.thing}?"), fillers)


def _auxiliary_form(words: Words) -> Grid:
    """The king has *examining / examined the lamp; the king is examining / *examined the lamp."""
    action, subject = words.action(progressive=True), words.someone()
    forms = [
        (words.pick("will", "can", "should", "must"), action.verb),
        (words.pick("has", "had"), participle(action.verb)),
        (words.pick("is", "was"), gerund(action.verb)),
    ]
    (one, first), (two, second) = words.rng.sample(forms, 2)
    return _cross((f"{subject} {one} {{}} {action.thing}", f"{subject} {two} {{}} {action.thing}"), (first, second))


def _polarity(words: Words) -> Grid:
    """The king did not laugh, and *so / neither did the queen; the king did not laugh *too / either."""
    (verb, rest), subject = _verb_phrase(words), words.someone()
    yes, no = f"{subject} {past(verb)} {rest}".strip(), f"{subject} did not {verb} {rest}".strip()
    if words.chance(0.5):
        return _cross((f"{yes} {{}}", f"{no} {{}}"), ("too", "either"))
    end = f", and {{}} did {words.someone()}"
    return _cross((yes + end, no + end), ("so", "neither"))


def _pronoun_case(words: Words) -> Grid:
    """He / *him admired the singer; the singer admired *he / him."""
    pronouns = words.rng.choice([("he", "him"), ("she", "her"), ("we", "us"), ("they", "them")])
    verb, other, place = past(words.draw("person verb", "reflexive verb")), words.someone(), words.place()
    return _cross((f"{{}} {verb} {other} {place}", f"{other} {verb} {{}} {place}"), pronouns)


def _tense_adverb(words: Words) -> Grid:
    """The king laughed yesterday / *tomorrow; next week the king will laugh, *last week the king will laugh."""
    (verb, rest), subject, unit = _verb_phrase(words), words.someone(), words.pick("day", "week", "month", "year")
    adverbs = ("yesterday", "tomorrow") if unit == "day" else (f"last {unit}", f"next {unit}")
    clauses = f"{subject} {past(verb)} {rest}", f"{subject} will {verb} {rest}"
    frame = words.pick("{{}} {}", "{} {{}}")
    return _cross((frame.format(clauses[0]), frame.format(clauses[1])), adverbs)


PHENOMENA: dict[str, Callable[[Words], Grid]] = {
    "subject_verb_agreement": _subject_verb_agreement,
    "agreement_across_attractor": _agreement_across_attractor,
    "reflexive_gender": _reflexive_gender,
    "reflexive_number": _reflexive_number,
    "argument_structure": _argument_structure,
    "adjective_order": _adjective_order,
    "verb_order": _verb_order,
    "inversion": _inversion,
    "question_gap": _question_gap,
    "auxiliary_form": _auxiliary_form,
    "polarity": _polarity,
    "pronoun_case": _pronoun_case,
    "tense_adverb": _tense_adverb,
}
