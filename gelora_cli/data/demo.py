"""The `demo` task: acceptability of generated English sentences, in the manner of CoLA and BLiMP.

A phenomenon is a two-by-two grid: two contexts and two fillers, of which each context accepts one. So a grid gives two
minimal pairs in which every word stands equally often in an acceptable and in an unacceptable sentence: only the
combination tells which is which, and counting words tells nothing. (In the word order phenomena the two pairs are
independent, and the members of a pair have the same words.) This module needs the standard library only.

The manner is that of Warstadt et al., "BLiMP: The Benchmark of Linguistic Minimal Pairs for English" (TACL 2020) and
"Neural Network Acceptability Judgments" (TACL 2019, CoLA); no sentence comes from them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

GRIDS = {"train": 58, "validation": 12, "test": 12}
SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@dataclass(frozen=True)
class DemoExample:
    """One sentence; `label` is 1 when it is acceptable, 0 when it is not.

    `id` counts from 0 in its split; `pair` is shared by the two members of a minimal pair and by no other sentence of
    any split.
    """

    id: int
    sentence: str
    label: int
    phenomenon: str
    pair: int


def demo_splits(seed: int = 0) -> dict[str, tuple[DemoExample, ...]]:
    """The splits `train`, `validation` and `test`, each in a shuffled order: a function of `seed` alone.

    A split has `4 * GRIDS[split]` sentences of each phenomenon, half of them acceptable. No sentence comes twice, both
    members of a minimal pair are in one split, and no noun, verb, adjective or name of one split is in another in any
    of its forms: the splits share function words only.
    """
    rng = random.Random(seed)
    vocabularies = _vocabularies(rng)
    pairs, seen = itertools.count(), set[str]()
    return {name: _split(grids, _Words(vocabularies[name], rng), pairs, seen) for name, grids in GRIDS.items()}


def _vocabularies(rng: random.Random) -> dict[str, dict[str, list[str]]]:
    """Every list of `VOCABULARY` cut into disjoint parts, one for each split."""
    parts: dict[str, dict[str, list[str]]] = {name: {} for name in SHARES}
    for kind, text in VOCABULARY.items():
        words = text.split()
        rng.shuffle(words)
        start = 0.0
        for name, share in SHARES.items():
            parts[name][kind] = words[round(start * len(words)) : round((start + share) * len(words))]
            start += share
    return parts


def _split(grids: int, words: _Words, pairs: Iterator[int], seen: set[str]) -> tuple[DemoExample, ...]:
    """The same number of grids of each phenomenon, shuffled."""
    members = [
        (phenomenon, next(pairs), sentences)
        for phenomenon, make in PHENOMENA.items()
        for _ in range(grids)
        for sentences in _new_grid(make, words, seen)
    ]
    rows = [
        (s, label, phenomenon, pair) for phenomenon, pair, (good, bad) in members for s, label in ((good, 1), (bad, 0))
    ]
    words.rng.shuffle(rows)
    return tuple(DemoExample(index, *row) for index, row in enumerate(rows))


def _new_grid(make: Callable[[_Words], Grid], words: _Words, seen: set[str]) -> Grid:
    """A grid of four sentences not `seen` before, in which no content word was drawn twice."""
    while True:
        words.drawn.clear()
        grid = make(words)
        sentences = {sentence for pair in grid for sentence in pair}
        if not sentences & seen and len(sentences) == 4 and len(set(words.drawn)) == len(words.drawn):
            seen |= sentences
            return grid


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


@dataclass(frozen=True)
class _Action:
    """A verb that must have an object, an object for it, and the word that asks for the object."""

    verb: str
    thing: str
    wh: str


class _Words:
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

    def action(self, progressive: bool = False) -> _Action:
        """Something done to a person or a thing; the verbs of having go without if it is to be `progressive`."""
        if self.chance(0.5):
            return _Action(self.draw("person verb", "reflexive verb"), self.person()[0], "who")
        return _Action(self.draw("thing verb", *[] if progressive else ["goods verb"]), self.something(), "what")


def _subject_verb_agreement(words: _Words) -> Grid:
    """The teachers *is / are tired."""
    return _agreement(words, "")


def _agreement_across_attractor(words: _Words) -> Grid:
    """The teachers behind the door *is / are tired; the teachers who admired the king *is / are tired."""
    someone, relative = words.pick(*words.person()), words.pick("who", "that")
    action, verb = words.action(), past(words.draw("person verb", "reflexive verb"))
    attractors = (
        f"{words.pick('near', 'behind', 'beside', 'with')} {words.pick(someone, action.thing)}",
        f"{relative} {past(action.verb)} {action.thing}",
        f"{relative} {someone} {verb}",
    )
    return _agreement(words, words.pick(attractors[0], *attractors))


def _agreement(words: _Words, between: str) -> Grid:
    """Subjects in both numbers, the same words `between`, and verbs of which each agrees with one subject."""
    forms, rest = _predicate(words)
    one, many = words.person()
    return _cross((f"{one} {between} {{}} {rest}", f"{many} {between} {{}} {rest}"), forms)


def _predicate(words: _Words) -> tuple[tuple[str, str], str]:
    """The singular and the plural form of a finite verb, and what follows it."""
    if words.chance(0.5):
        return (("is", "are") if words.chance(0.5) else ("was", "were")), words.draw("person adjective")
    verb, rest = _verb_phrase(words)
    return (("has", "have"), f"{participle(verb)} {rest}") if words.chance(0.5) else ((third_person(verb), verb), rest)


def _verb_phrase(words: _Words) -> tuple[str, str]:
    """A verb in its base form, with its object or perhaps with a place."""
    if words.chance(0.5):
        return words.draw("intransitive"), words.place()
    action = words.action()
    return action.verb, action.thing


def _reflexive_gender(words: _Words) -> Grid:
    """The queen blamed *himself / herself."""
    subjects = words.draw("man's name"), words.draw("woman's name")
    if words.chance(0.6):
        determiner = words.determiner()
        subjects = f"{determiner} {words.draw('man')}", f"{determiner} {words.draw('woman')}"
    return _reflexive(words, subjects, ("himself", "herself"))


def _reflexive_number(words: _Words) -> Grid:
    """The kings blamed *himself / themselves."""
    kind, pronoun = ("man", "himself") if words.chance(0.5) else ("woman", "herself")
    return _reflexive(words, words.person(kind), (pronoun, "themselves"))


def _reflexive(words: _Words, subjects: tuple[str, str], pronouns: tuple[str, str]) -> Grid:
    rest = f"{past(words.draw('reflexive verb'))} {{}} {words.place()}"
    return _cross((f"{subjects[0]} {rest}", f"{subjects[1]} {rest}"), pronouns)


def _argument_structure(words: _Words) -> Grid:
    """The king *sneezed / admired the singer; the king sneezed / *admired."""
    action, subject, place = words.action(), words.someone(), words.place()
    verbs = past(action.verb), past(words.draw("intransitive"))
    return _cross((f"{subject} {{}} {action.thing} {place}", f"{subject} {{}} {place}"), verbs)


def _adjective_order(words: _Words) -> Grid:
    """The king repaired *the lamp wooden / the wooden lamp."""

    def pair() -> Pair:
        noun, adjective = words.draw("thing"), words.draw("thing adjective")
        frame = f"{words.someone()} {past(words.draw('thing verb'))} {words.determiner()} {{}} {{}} {words.place()}"
        noun = words.pick(noun, plural(noun))
        return _pair(frame.format(adjective, noun), frame.format(noun, adjective))

    return pair(), pair()


def _verb_order(words: _Words) -> Grid:
    """The king *the lamp repaired / repaired the lamp; *repaired the king the lamp / the king repaired the lamp."""

    def pair() -> Pair:
        subject, thing, place = words.person()[0], words.something(), words.place()
        verb = past(words.draw("thing verb", "goods verb"))
        bad = words.pick(f"{subject} {thing} {verb} {place}", f"{verb} {subject} {thing} {place}")
        return _pair(f"{subject} {verb} {thing} {place}", bad)

    return pair(), pair()


def _inversion(words: _Words) -> Grid:
    """What *the king will / will the king repair? And embedded: the queen knew what the king will / *will the king."""
    action, subject, other = words.action(), words.someone(), words.someone()
    auxiliary = words.pick("will", "can", "should", "must", "would", "could")
    wh, rest = action.wh, action.verb
    if words.chance(0.5):
        wh, rest = words.pick("when", "where", "why"), f"{action.verb} {action.thing}"
    contexts = f"{wh} {{}} {rest}?", f"{other} {past(words.draw('question verb'))} {wh} {{}} {rest}"
    return _cross(contexts, (f"{auxiliary} {subject}", f"{subject} {auxiliary}"))


def _question_gap(words: _Words) -> Grid:
    """*When / what did the king repair? When / *what did the king repair the lamp?"""
    action, rest = words.action(), f"{{}} did {words.someone()}"
    fillers = action.wh, words.pick("when", "where", "why")
    return _cross((f"{rest} {action.verb}?", f"{rest} {action.verb} {action.thing}?"), fillers)


def _auxiliary_form(words: _Words) -> Grid:
    """The king has *examining / examined the lamp; the king is examining / *examined the lamp."""
    action, subject = words.action(progressive=True), words.someone()
    forms = [
        (words.pick("will", "can", "should", "must"), action.verb),
        (words.pick("has", "had"), participle(action.verb)),
        (words.pick("is", "was"), gerund(action.verb)),
    ]
    (one, first), (two, second) = words.rng.sample(forms, 2)
    return _cross((f"{subject} {one} {{}} {action.thing}", f"{subject} {two} {{}} {action.thing}"), (first, second))


def _polarity(words: _Words) -> Grid:
    """The king did not laugh, and *so / neither did the queen; the king did not laugh *too / either."""
    (verb, rest), subject = _verb_phrase(words), words.someone()
    yes, no = f"{subject} {past(verb)} {rest}".strip(), f"{subject} did not {verb} {rest}".strip()
    if words.chance(0.5):
        return _cross((f"{yes} {{}}", f"{no} {{}}"), ("too", "either"))
    end = f", and {{}} did {words.someone()}"
    return _cross((yes + end, no + end), ("so", "neither"))


def _pronoun_case(words: _Words) -> Grid:
    """He / *him admired the singer; the singer admired *he / him."""
    pronouns = words.rng.choice([("he", "him"), ("she", "her"), ("we", "us"), ("they", "them")])
    verb, other, place = past(words.draw("person verb", "reflexive verb")), words.someone(), words.place()
    return _cross((f"{{}} {verb} {other} {place}", f"{other} {verb} {{}} {place}"), pronouns)


def _tense_adverb(words: _Words) -> Grid:
    """The king laughed yesterday / *tomorrow; next week the king will laugh, *last week the king will laugh."""
    (verb, rest), subject, unit = _verb_phrase(words), words.someone(), words.pick("day", "week", "month", "year")
    adverbs = ("yesterday", "tomorrow") if unit == "day" else (f"last {unit}", f"next {unit}")
    clauses = f"{subject} {past(verb)} {rest}", f"{subject} will {verb} {rest}"
    frame = words.pick("{{}} {}", "{} {{}}")
    return _cross((frame.format(clauses[0]), frame.format(clauses[1])), adverbs)


def plural(noun: str) -> str:
    """The plural of a count noun."""
    if noun.endswith("man"):
        return noun[:-3] + "men"
    return IRREGULAR_PLURALS.get(noun) or _with_s(noun)


def third_person(verb: str) -> str:
    """The third person singular of the present."""
    return _with_s(verb)


def past(verb: str) -> str:
    """The past tense."""
    return IRREGULAR_VERBS[verb][0] if verb in IRREGULAR_VERBS else _with_ed(verb)


def participle(verb: str) -> str:
    """The past participle."""
    return IRREGULAR_VERBS[verb][1] if verb in IRREGULAR_VERBS else _with_ed(verb)


def gerund(verb: str) -> str:
    """The form in -ing."""
    return (verb[:-1] if verb.endswith("e") else _doubled(verb)) + "ing"


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
    return _doubled(verb) + "ed"


def _doubled(verb: str) -> str:
    return verb + verb[-1] if verb in DOUBLING else verb


Pair = tuple[str, str]
Grid = tuple[Pair, Pair]

PHENOMENA: dict[str, Callable[[_Words], Grid]] = {
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

DOUBLING = frozenset({"grab", "hug", "kidnap", "chat", "grin", "nod", "sob", "forget"})

VOCABULARY = {
    "person": """
        teacher doctor lawyer student farmer driver singer dancer writer artist soldier banker editor engineer
        scientist professor neighbour customer visitor tourist child senator manager director surgeon officer
        athlete reporter historian musician poet sailor hunter detective mechanic architect politician secretary
        clerk scholar journalist minister composer swimmer inspector astronaut nurse thief author expert worker
        priest bishop stranger merchant trader witness prisoner criminal peasant builder painter rider passenger
        mayor governor diplomat attorney agent spy general captain commander publisher performer comedian explorer
        philosopher psychologist physician pupil teenager colleague partner cousin friend volunteer employee citizen
        settler pilgrim designer programmer photographer translator trainer champion pirate robber ranger cyclist
        boxer wrestler sculptor accountant economist mathematician astronomer missionary pilot
    """,
    "man": """
        boy man king actor uncle father brother son prince husband monk gentleman policeman duke wizard cowboy
        emperor businessman fisherman knight lord baron lad waiter grandfather nephew salesman groom landlord
        grandson
    """,
    "woman": """
        girl woman queen actress mother sister daughter wife nun lady witch widow maid waitress aunt grandmother
        princess niece duchess empress bride countess hostess granddaughter heroine goddess girlfriend policewoman
        landlady schoolgirl
    """,
    "man's name": """
        John Peter David Michael Robert James Thomas William Richard Paul George Daniel Kevin Brian Steven Edward
        Henry Andrew Simon Martin Philip Walter Oliver Samuel
    """,
    "woman's name": """
        Mary Anna Susan Linda Karen Sarah Laura Emily Julia Helen Alice Nancy Barbara Jennifer Margaret Elizabeth
        Rachel Diana Emma Jane Lucy Sophie Charlotte Victoria
    """,
    "thing": """
        lamp basket camera bicycle clock guitar blanket mirror carpet bottle piano violin jacket shirt helmet chair
        table radio printer tractor boat candle statue painting map poster letter ticket parcel knife shelf box
        dress trumpet curtain pillow drawer computer motorcycle wheel engine flute coat hat car truck bike wagon
        rifle sword pistol book novel magazine newspaper card portrait flag banner coin medal trophy crown jewel
        diamond button belt boot shoe glove mask skirt robe bench cabinet machine keyboard phone bell drum doll toy
        puzzle rope chain cable tool pen bag jar bowl cup plate fork barrel lantern sculpture tent tablet robot
        helicopter rocket battery umbrella suitcase
    """,
    "place": """
        kitchen garden library park office station museum hotel village forest hospital restaurant school church
        theatre market castle harbour bakery factory airport classroom stadium bedroom cathedral courtyard valley
        desert temple prison warehouse laboratory cottage basement hallway lobby barn tavern palace mansion
        monastery
    """,
    "reflexive verb": """
        admire blame praise accuse rescue convince insult amuse congratulate criticize embarrass defend protect
        introduce encourage deceive betray reward distract comfort mention describe surprise motivate mock injure
        punish portray disguise flatter reassure nominate wound support promote
    """,
    "person verb": """
        arrest challenge chase defeat escort invite thank shock greet annoy frighten kidnap appoint dismiss welcome
        ignore hug advise pursue tease apprehend
    """,
    "thing verb": """
        repair examine replace lift grab display hold damage destroy touch measure ruin fix inspect restore modify
        smash photograph manufacture dismantle reassemble crush abandon discard demolish conceal wreck mend salvage
        handle grasp label
    """,
    "goods verb": """
        find purchase discover remove collect locate obtain acquire take carry seize transport receive borrow use
        retrieve store confiscate buy bring own need possess keep
    """,
    "intransitive": """
        sleep arrive laugh smile disappear giggle shiver sigh frown emerge sob cough vanish tremble weep blush
        stumble linger complain listen crawl faint yawn sneeze snore chuckle kneel depart gasp groan moan talk growl
        chat limp wander shudder flinch wince grin nod cry stare gaze glance gossip proceed
    """,
    "question verb": """
        know remember understand explain reveal learn announce recall confirm determine realize forget guess predict
        indicate disclose clarify
    """,
    "person adjective": """
        happy tired hungry angry clever lazy polite rude famous brave honest shy proud nervous lonely busy wise calm
        generous friendly jealous selfish patient cheerful stubborn thirsty sleepy talented modest curious cautious
        arrogant grateful confident anxious careless loyal miserable popular wealthy
    """,
    "thing adjective": """
        heavy expensive ugly beautiful wooden colourful fragile useless antique modern ancient tiny huge enormous
        small large old black white brown grey pink blue green red yellow purple valuable sturdy round golden
        electric elegant splendid strange ordinary unusual rare plain
    """,
}
