"""The generated task: what may be learnt from it, and what must not be."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef

from gelora_cli.data import inflection
from gelora_cli.data.demo import DemoExample, demo_splits
from gelora_cli.data.demo_vocabulary import VOCABULARY

Splits = Mapping[str, tuple[DemoExample, ...]]

FUNCTION_TEXT = """
    the my our your their in near outside behind beside with and to not
    is are was were has have had did will can should must would could
    who that what when where why so neither too either
    he him she her we us they them himself herself themselves
    yesterday tomorrow last next week month year
"""
FUNCTION_WORDS = frozenset(FUNCTION_TEXT.split())
SIZES = {"train": 3016, "validation": 624, "test": 624}


@pytest.fixture(scope="module", params=[0, 1])
def splits(request: pytest.FixtureRequest) -> Splits:
    return demo_splits(request.param)


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z]+", sentence.lower())


def all_words(examples: tuple[DemoExample, ...]) -> set[str]:
    return {word for example in examples for word in words(example.sentence)}


def minimal_pairs(examples: tuple[DemoExample, ...]) -> list[tuple[DemoExample, DemoExample]]:
    """Return the pairs of a split, the acceptable member first."""
    members = defaultdict(list)
    for example in examples:
        members[example.pair].append(example)
    assert {len(pair) for pair in members.values()} == {2}
    first, second = zip(*(sorted(pair, key=lambda example: -example.label) for pair in members.values()), strict=True)
    return list(zip(first, second, strict=True))


def test_splits_have_their_sizes_and_ids_count_from_zero(splits: Splits) -> None:
    assert {name: len(examples) for name, examples in splits.items()} == SIZES
    for examples in splits.values():
        assert [example.id for example in examples] == list(range(len(examples)))


def test_every_phenomenon_is_half_acceptable_in_every_split(splits: Splits) -> None:
    for name, examples in splits.items():
        counts = Counter((example.phenomenon, example.label) for example in examples)
        assert len({phenomenon for phenomenon, _ in counts}) >= 8
        assert {label for _, label in counts} == {0, 1}
        assert set(counts.values()) == {SIZES[name] // len(counts)}


def test_a_pair_is_one_acceptable_and_one_unacceptable_sentence_of_one_phenomenon(splits: Splits) -> None:
    for examples in splits.values():
        for good, bad in minimal_pairs(examples):
            assert (good.label, bad.label) == (1, 0)
            assert good.phenomenon == bad.phenomenon
    groups = [set(map(attrgetter("pair"), examples)) for examples in splits.values()]
    assert len(set.union(*groups)) == sum(map(len, groups))


def test_the_members_of_a_pair_differ_in_one_place_or_in_word_order(splits: Splits) -> None:
    for examples in splits.values():
        for good, bad in minimal_pairs(examples):
            one, two = words(good.sentence), words(bad.sentence)
            changed = sum(a != b for a, b in zip(one, two, strict=True))
            assert changed == 1 or (one != two and sorted(one) == sorted(two)), (good, bad)


def test_order_does_not_show_the_pairs(splits: Splits) -> None:
    train = splits["train"]
    neighbours = sum(a.pair == b.pair for a, b in pairwise(train))
    assert neighbours < 20
    assert 0.4 < sum(example.label for example in train[: len(train) // 2]) / (len(train) // 2) < 0.6


def test_no_sentence_comes_twice(splits: Splits) -> None:
    sentences = [example.sentence.lower() for examples in splits.values() for example in examples]
    assert len(set(sentences)) == len(sentences)


def test_content_words_of_a_split_are_in_no_other(splits: Splits) -> None:
    content = {name: all_words(examples) - FUNCTION_WORDS for name, examples in splits.items()}
    assert not content["train"] & content["validation"]
    assert not content["train"] & content["test"]
    assert not content["validation"] & content["test"]
    assert len(content["train"]) > 500


def test_lemmas_are_held_out_in_all_their_forms() -> None:
    owners = defaultdict(set)
    for kind, text in VOCABULARY.items():
        for lemma in text.split():
            for form in forms(kind, lemma):
                owners[form.lower()].add((kind, lemma))
    assert {form: lemmas for form, lemmas in owners.items() if len(lemmas) > 1} == {}
    assert not owners.keys() & FUNCTION_WORDS


def forms(kind: str, lemma: str) -> set[str]:
    if kind.endswith("verb") or kind == "intransitive":
        inflected = (inflection.third_person, inflection.past, inflection.participle, inflection.gerund)
        return {lemma} | {inflect(lemma) for inflect in inflected}
    return {lemma} if kind.endswith(("name", "adjective", "place")) else {lemma, inflection.plural(lemma)}


def test_the_training_vocabulary_is_large() -> None:
    train_words = all_words(demo_splits()["train"])
    seen: Counter[str] = Counter()
    for kind, text in VOCABULARY.items():
        group = "verb" if kind.endswith("verb") or kind == "intransitive" else kind.split()[-1]
        group = "noun" if group in ("person", "man", "woman", "thing", "place") else group
        for lemma in text.split():
            seen[group] += not train_words.isdisjoint(map(str.lower, forms(kind, lemma)))
    assert seen["noun"] >= 150
    assert seen["verb"] >= 90
    assert seen["adjective"] >= 40
    assert seen["name"] >= 24


@pytest.mark.parametrize("pattern", [r"(?u)\b\w\w+\b", r"\w+|[^\w\s]"])
def test_counting_words_does_not_tell_the_label(splits: Splits, pattern: str) -> None:
    scores = logistic_regression(splits, CountVectorizer(token_pattern=pattern))
    assert max(map(abs, scores)) <= 0.15


def test_counting_word_bigrams_hardly_tells_the_label(splits: Splits) -> None:
    scores = logistic_regression(splits, CountVectorizer(ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]"))
    assert max(map(abs, scores)) <= 0.15


def test_that_the_logistic_regression_finds_a_word_that_does_tell(splits: Splits) -> None:
    marked = {}
    for name, examples in splits.items():
        marked[name] = tuple(replace(e, sentence=e.sentence + " indeed" * e.label) for e in examples)
    assert min(logistic_regression(marked, CountVectorizer())) > 0.9


def logistic_regression(splits: Splits, counter: CountVectorizer) -> list[float]:
    """Return the MCC on validation and on test of word counts, learnt from train."""
    model = LogisticRegression(max_iter=1000)
    model.fit(counter.fit_transform(e.sentence for e in splits["train"]), [e.label for e in splits["train"]])
    scores = []
    for name in ("validation", "test"):
        predicted = model.predict(counter.transform(e.sentence for e in splits[name]))
        scores.append(float(matthews_corrcoef([e.label for e in splits[name]], predicted)))
    return scores


def test_every_word_and_mark_is_as_frequent_in_either_class(splits: Splits) -> None:
    for examples in splits.values():
        counts = [Counter[str](), Counter[str]()]
        for example in examples:
            counts[example.label].update(re.findall(r"\w+|[^\w\s]", example.sentence.lower()))
        assert counts[0] == counts[1]


SHAPES: list[Callable[[str], object]] = [
    lambda sentence: len(sentence.split()),
    lambda sentence: re.sub(r"\w+|\s", "", sentence),
    lambda sentence: sum(letter.isupper() for letter in sentence),
]


@pytest.mark.parametrize("shape", SHAPES, ids=["words", "punctuation", "capitals"])
def test_shape_is_the_same_in_both_classes(splits: Splits, shape: Callable[[str], object]) -> None:
    for examples in splits.values():
        shapes = [Counter[object](), Counter[object]()]
        for example in examples:
            shapes[example.label][shape(example.sentence)] += 1
        assert shapes[0] == shapes[1]


def test_no_threshold_on_the_letters_tells_the_label(splits: Splits) -> None:
    for examples in splits.values():
        labels = [example.label for example in sorted(examples, key=lambda example: len(example.sentence))]
        advantage = max(abs(2 * sum(labels[:cut]) - cut) for cut in range(len(labels)))
        assert advantage / len(labels) <= 0.05


def test_sentences_are_written_as_sentences(splits: Splits) -> None:
    for examples in splits.values():
        for example in examples:
            assert re.fullmatch(r"[A-Z][A-Za-z]*(,? [A-Za-z]+)*[.?]", example.sentence), example.sentence
            asks = example.sentence.split()[0] in {"What", "Who", "When", "Where", "Why"}
            assert example.sentence.endswith("?") == asks


def digest(splits: Splits) -> str:
    return hashlib.sha256(repr(splits).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_generates_the_same(hash_seed: str) -> None:
    code = (
        "import hashlib, sys; from gelora_cli.data.demo import demo_splits; "
        "print(hashlib.sha256(repr(demo_splits(5)).encode()).hexdigest(), *({'torch', 'numpy'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert done.stdout.split() == [digest(demo_splits(5))]


def test_the_seed_decides_sentences_and_vocabulary() -> None:
    one, two = demo_splits(0), demo_splits(1)
    assert demo_splits(0) is one  # generated once, whichever split is asked for
    demo_splits.cache_clear()
    assert digest(one) == digest(demo_splits(0))
    assert digest(one) != digest(two)
    shared = {e.sentence for e in one["train"]} & {e.sentence for e in two["train"]}
    assert len(shared) < 50
    assert len(all_words(one["validation"]) - all_words(two["validation"])) > 100


def test_the_global_generator_is_left_alone() -> None:
    state = random.getstate()
    demo_splits.cache_clear()
    demo_splits(3)
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("teacher", "teachers"),
        ("boy", "boys"),
        ("lady", "ladies"),
        ("witness", "witnesses"),
        ("box", "boxes"),
        ("bench", "benches"),
        ("piano", "pianos"),
        ("policewoman", "policewomen"),
        ("man", "men"),
        ("child", "children"),
        ("wife", "wives"),
        ("thief", "thieves"),
        ("knife", "knives"),
    ],
)
def test_plural(noun: str, expected: str) -> None:
    assert inflection.plural(noun) == expected


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("admire", "admires admired admired admiring"),
        ("cry", "cries cried cried crying"),
        ("destroy", "destroys destroyed destroyed destroying"),
        ("smash", "smashes smashed smashed smashing"),
        ("kidnap", "kidnaps kidnapped kidnapped kidnapping"),
        ("listen", "listens listened listened listening"),
        ("take", "takes took taken taking"),
        ("know", "knows knew known knowing"),
        ("forget", "forgets forgot forgotten forgetting"),
        ("hold", "holds held held holding"),
    ],
)
def test_verb_forms(verb: str, expected: str) -> None:
    given = [inflection.third_person(verb), inflection.past(verb), inflection.participle(verb), inflection.gerund(verb)]
    assert given == expected.split()


def test_no_form_of_a_verb_is_ambiguous() -> None:
    # Past and base must differ, or an unacceptable sentence would be acceptable in the other reading.
    for kind, text in VOCABULARY.items():
        if kind.endswith("verb") or kind == "intransitive":
            for verb in text.split():
                assert (
                    len({verb, inflection.third_person(verb), inflection.past(verb), inflection.gerund(verb)}) == 4
                ), verb
                assert inflection.participle(verb) not in {verb, inflection.third_person(verb), inflection.gerund(verb)}
