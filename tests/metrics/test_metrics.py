from __future__ import annotations

import math
import socket
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import load_metric
from gelora_cli.metrics.definitions import points_at_zero
from gelora_cli.metrics.evaluate_metrics import best_threshold

Array = NDArray[Any]


def computed(name: str, predictions: Any, references: Any) -> dict[str, float]:
    found: dict[str, float] = load_metric(name).compute(predictions=predictions, references=references)
    return found


def labels(generator: np.random.Generator, classes: int) -> tuple[Array, Array]:
    """Draw two (n,) label arrays that agree more often than not; some hold one class only."""
    count = int(generator.integers(1, 60))
    references = generator.integers(0, classes, count)
    noise = generator.integers(0, classes, count)
    return np.where(generator.random(count) < generator.random(), references, noise), references


def test_label_metrics_equal_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    degenerate = 0
    for _ in range(150):
        predictions, references = labels(generator, 2)
        found = computed("accuracy_f1", predictions, references)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mcc = sklearn.metrics.matthews_corrcoef(references, predictions)
            f1 = sklearn.metrics.f1_score(references, predictions, zero_division=0)
        assert found["f1"] == pytest.approx(f1, abs=1e-12)
        assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(references, predictions), abs=1e-12)
        assert computed("accuracy", predictions, references) == {"accuracy": found["accuracy"]}
        value = computed("mcc", predictions, references)["matthews_correlation"]
        assert value == pytest.approx(mcc, abs=1e-12)
        degenerate += len(np.unique(predictions)) == 1 or len(np.unique(references)) == 1
    assert 0 < degenerate < 75


def test_matthews_correlation_of_several_classes_equals_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    for classes in (3, 4, 7) * 15:
        predictions, references = labels(generator, classes)
        expected = sklearn.metrics.matthews_corrcoef(references, predictions)
        value = computed("mcc", predictions * 3 - 1, references * 3 - 1)["matthews_correlation"]
        assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_correlations_equal_scipy_with_and_without_ties(levels: int) -> None:
    generator = np.random.default_rng(levels)
    for _ in range(40):
        count = int(generator.integers(4, 80))
        references = generator.integers(0, levels, count) / 7
        predictions = np.round(references + generator.normal(size=count), 1)
        if np.ptp(references) == 0:
            continue
        found = computed("pearson_spearman", predictions, references)
        assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(predictions, references)[0], abs=1e-12)
        assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(predictions, references)[0], abs=1e-12)
        assert found["pearson_spearman_mean"] == pytest.approx((found["pearson"] + found["spearman"]) / 2)


@pytest.mark.parametrize("scale", [1e-200, 1e200, -1e-3])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_correlation_does_not_depend_on_the_scale(scale: float, shift: float) -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(2, 50))
    expected = scipy.stats.pearsonr(x, y)[0] * np.sign(scale)
    found = computed("pearson_spearman", (x + shift) * scale, y)
    assert found["pearson"] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_values_stay_in_their_ranges(pairs: list[tuple[int, int]]) -> None:
    predictions, references = np.array(pairs).T
    values: dict[str, float] = {}
    for name in ("mcc", "accuracy", "pearson_spearman"):
        values |= METRICS.get(name).compute(predictions, references)
    assert 0 <= values.pop("accuracy") <= 1
    assert all(-1 <= value <= 1 for value in values.values())


def test_worked_examples() -> None:
    # Of 10: TP 3, FN 1, FP 2, TN 4; MCC = (3*4 - 2*1) / sqrt(5*4*6*5), F1 = 6/9.
    predictions = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    references = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert computed("mcc", predictions, references)["matthews_correlation"] == pytest.approx(10 / 600**0.5)
    assert computed("accuracy_f1", predictions, references) == {"accuracy": 0.7, "f1": pytest.approx(6 / 9)}
    # Mid-ranks 1 2.5 2.5 4 against 1 2 3 4: 4.5 / sqrt(4.5 * 5).
    found = computed("pearson_spearman", [0.0, 1.0, 1.0, 2.0], [1.0, 2.0, 3.0, 50.0])
    assert found["spearman"] == pytest.approx((4.5 / 5) ** 0.5)


def test_perfect_and_opposite_predictions_are_exact() -> None:
    references = np.arange(150) % 3
    assert computed("mcc", references, references) == {"matthews_correlation": 1.0}
    assert computed("mcc", 1 - references % 2, references % 2) == {"matthews_correlation": -1.0}
    assert computed("accuracy_f1", [0, 1, 1], [0, 1, 1]) == {"accuracy": 1.0, "f1": 1.0}
    assert computed("pearson_spearman", references, -references)["spearman"] == pytest.approx(-1.0)


@pytest.mark.parametrize("side", [0, 1])
def test_one_class_or_a_constant_gives_zero(side: int) -> None:
    constant = [[1, 1, 1, 1], [0, 1, 0, 1]][:: 1 - 2 * side]
    assert computed("mcc", *constant) == {"matthews_correlation": 0.0}
    # The mean of nine times 0.1 is not 0.1 in binary.
    numbers = [[0.1] * 9, [float(i) for i in range(9)]][:: 1 - 2 * side]
    assert computed("pearson_spearman", *numbers) == dict.fromkeys(
        ("pearson", "spearman", "pearson_spearman_mean"), 0.0
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_give_zero(bad: float) -> None:
    found = computed("pearson_spearman", [0.0, 1.0, bad], [0.0, 1.0, 2.0])
    assert found == dict.fromkeys(("pearson", "spearman", "pearson_spearman_mean"), 0.0)


def test_f1_without_positives_is_zero() -> None:
    assert computed("accuracy_f1", [0, 0], [0, 0]) == {"accuracy": 1.0, "f1": 0.0}


@pytest.mark.parametrize("name", METRICS.names())
def test_batches_add_up_and_are_forgotten_after(name: str) -> None:
    predictions, references = examples(name, 37)
    metric = load_metric(name)
    for start in range(0, 37, 10):
        metric.add_batch(predictions=predictions[start : start + 10], references=references[start : start + 10])
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute() == computed(name, predictions, references)
    with pytest.raises(GeloraError, match="no predictions"):
        metric.compute()
    metric.add_batch(predictions=predictions[:2], references=references[:2])
    assert metric.compute() == computed(name, predictions[:2], references[:2])


def examples(name: str, count: int) -> tuple[Any, Any]:
    """Return predictions and references as a metric takes them."""
    generator = np.random.default_rng(5)
    if name.startswith("squad"):
        return questions(generator, count, unanswerable=name == "squad_v2")
    if name == "completions":
        texts, others = generator.integers(0, 2, (2, count)).astype(str).tolist()
        predictions = [{"text": text, "log_likelihood": -1.0 - row} for row, text in enumerate(texts)]
        return predictions, [{"text": text, "tokens": 1 + row} for row, text in enumerate(others)]
    of_a_row = (3,) if METRICS.get(name).target == "label_sets" else ()
    predictions, references = generator.integers(0, 2, (2, count, *of_a_row))
    return predictions, references


@pytest.mark.parametrize("name", METRICS.names())
def test_nothing_to_evaluate_is_refused(name: str) -> None:
    with pytest.raises(GeloraError, match="no predictions"):
        load_metric(name).compute()
    with pytest.raises(GeloraError, match="no predictions"):
        computed(name, [], [])


def test_logits_in_place_of_labels_are_refused() -> None:
    with pytest.raises(GeloraError, match="argmax"):
        computed("mcc", np.array([0.9, 0.2]), np.array([1, 0]))
    with pytest.raises(GeloraError, match="argmax"):
        load_metric("accuracy").add_batch(predictions=[0, 1], references=[0.5, 1.0])


def test_f1_of_other_labels_is_refused() -> None:
    with pytest.raises(GeloraError, match="0 and 1"):
        computed("accuracy_f1", [0, 2], [0, 1])


def test_unknown_names_are_refused_with_the_list() -> None:
    with pytest.raises(
        GeloraError, match="accuracy, accuracy_f1, completions, macro_f1, mcc, multilabel_f1, pearson_spearman"
    ):
        load_metric("glue")


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="Mismatch"):
        computed("accuracy", [0, 1, 1], [0, 1])


def test_no_network_no_file_and_no_random_state_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a metric opened a socket")

    cache = tmp_path / "metrics"
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", cache)
    monkeypatch.setattr(socket, "socket", refuse)
    np.random.seed(11)
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    first, second = load_metric("mcc"), load_metric("mcc")
    first.add_batch(predictions=[1, 0, 1], references=[1, 0, 1])
    second.add_batch(predictions=[0, 1, 0], references=[1, 0, 1])
    assert first.experiment_id != second.experiment_id
    assert (second.compute()["matthews_correlation"], first.compute()["matthews_correlation"]) == (-1.0, 1.0)
    assert not cache.exists()
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before)


WORDS = [
    "the",
    "cat",
    "Cat,",
    "a",
    "an",
    "sat",
    "on",
    "mat",
    "mat.",
    "42",
    "caf\u00e9",
    "\u4e1c\u4eac",
    "'s",
    "\u00a0",
    "U.S.",
]


def texts(generator: np.random.Generator, most: int = 6) -> str:
    """Return a few words, often none, with odd blanks."""
    return "  ".join(generator.choice(WORDS, generator.integers(0, most)).tolist())


def questions(generator: np.random.Generator, count: int, *, unanswerable: bool) -> tuple[list[Any], list[Any]]:
    """Draw rows of predictions and references; a gold answer is often, and in part, the prediction."""
    predictions: list[dict[str, Any]] = []
    references: list[dict[str, Any]] = []
    for number in range(count):
        text = texts(generator)
        golds = [text if generator.random() < 0.3 else texts(generator) for _ in range(generator.integers(1, 4))]
        golds = [] if unanswerable and generator.random() < 0.4 else golds
        predictions.append({"id": f"q{number}", "prediction_text": text})
        references.append({"id": f"q{number}", "answers": {"text": golds, "answer_start": [0] * len(golds)}})
        if unanswerable:
            predictions[-1]["no_answer_score"] = float(np.round(generator.normal(), 1))
    return predictions, references


def test_squad_equals_torchmetrics() -> None:
    # The other implementation is independent; on these words the two definitions agree.
    # The script of v1.1 gives F1 = 0 where prediction and gold answer both have no word left; torchmetrics gives 1.
    from torchmetrics.functional.text import squad

    generator = np.random.default_rng(2)
    for _ in range(100):
        predictions, references = questions(generator, int(generator.integers(1, 30)), unanswerable=False)
        kept = [row for row, gold in zip(predictions, references, strict=True) if both_say_something(row, gold)]
        ids = {row["id"] for row in kept}
        references = [row for row in references if row["id"] in ids]
        if not kept:
            continue
        expected = squad(kept, references)
        found = computed("squad", kept[::-1], references)
        assert found["exact_match"] == pytest.approx(float(expected["exact_match"]), abs=1e-4)
        assert found["f1"] == pytest.approx(float(expected["f1"]), abs=1e-4)


def both_say_something(prediction: dict[str, Any], reference: dict[str, Any]) -> bool:
    said = [prediction["prediction_text"], *reference["answers"]["text"]]
    return all(set("".join(text.split()).lower()) - set("the,.'") and text.strip() for text in said) and not any(
        text.lower().replace("the", " ").replace("an", " ").replace("a", " ").strip(" ,.'\u00a0") == "" for text in said
    )


def test_squad_of_texts_worked_out_by_hand() -> None:
    def one(prediction: str, *golds: str) -> tuple[float, float]:
        row: dict[str, Any] = {"id": "q", "prediction_text": prediction}
        gold: dict[str, Any] = {"id": "q", "answers": {"text": list(golds), "answer_start": [0] * len(golds)}}
        found = computed("squad", [row], [gold])
        return found["exact_match"], round(found["f1"], 6)

    assert one("The  Cat,", "cat") == (100, 100)
    assert one("cat sat", "cat") == (0, round(200 / 3, 6))
    assert one("cat cat", "cat") == (0, round(200 / 3, 6))
    assert one("cat", "dog", "the cat sat", "cat!") == (100, 100)
    assert one("", "cat") == (0, 0)
    assert one("the", "a") == (100, 0)  # as the script of v1.1 has it: the same text, no common word
    assert one("caf\u00e9", "cafe") == (0, 0)
    assert one("\u00bfcat", "cat") == (0, 0)  # only ASCII punctuation is left out


def test_squad_v2_of_questions_worked_out_by_hand() -> None:
    predictions: list[dict[str, Any]] = [
        {"id": "right", "prediction_text": "the cat", "no_answer_score": -2.0},
        {"id": "part", "prediction_text": "cat sat", "no_answer_score": -1.0},
        {"id": "silent", "prediction_text": "cat", "no_answer_score": 0.5},
        {"id": "none", "prediction_text": "dog", "no_answer_score": 1.0},
        {"id": "loud", "prediction_text": "dog", "no_answer_score": -3.0},
    ]
    golds = {"right": ["cat"], "part": ["cat"], "silent": ["cat"], "none": [], "loud": []}
    references = [{"id": i, "answers": {"text": t, "answer_start": [0] * len(t)}} for i, t in golds.items()]
    found = computed("squad_v2", predictions, references)
    assert found["exact_match"] == pytest.approx(100 * 2 / 5)
    assert found["f1"] == pytest.approx(100 * (1 + 2 / 3 + 0 + 1 + 0) / 5)
    assert found["HasAns_exact_match"] == pytest.approx(100 / 3)
    assert found["HasAns_f1"] == pytest.approx(100 * (1 + 2 / 3) / 3)
    assert found["NoAns_f1"] == found["NoAns_exact_match"] == 50
    # from the loudest: 2 unanswerable, -1 (loud), +1 (right), +2/3 (part), +1 (silent), -1 (none)
    assert found["best_f1_chosen_on_eval"] == pytest.approx(100 * (2 - 1 + 1 + 2 / 3 + 1) / 5)
    assert found["best_f1_chosen_on_eval_threshold"] == 0.5
    assert found["best_exact_match_chosen_on_eval"] == pytest.approx(100 * 3 / 5)


def brute_force_v2(predictions: list[Any], references: list[Any]) -> dict[str, float]:
    """Compute v2.0 from its definition, a question and a threshold at a time, with the parts of torchmetrics."""
    from torchmetrics.functional.text.squad import _compute_exact_match_score, _compute_f1_score, _normalize_text

    given = {row["id"]: row for row in predictions}

    def score(name: str, threshold: float, part: bool | None = None, *, searching: bool = False) -> float:
        points = []
        compare = _compute_exact_match_score if name == "exact_match" else _compute_f1_score
        for row in references:
            golds, answered = row["answers"]["text"], given[row["id"]]
            if part is not None and bool(golds) is not part:
                continue
            if answered["no_answer_score"] > threshold:
                points.append(float(not golds))
            elif searching and not golds:  # the script's search looks at the text as it is, its scores at the words
                points.append(float(not answered["prediction_text"]))
            else:
                said = [gold for gold in golds if _normalize_text(gold)] or [""]
                points.append(max(float(compare(answered["prediction_text"], gold)) for gold in said))
        return 100 * float(np.mean(points)) if points else math.nan

    values = {}
    for name in ("exact_match", "f1"):
        values[name] = score(name, 0.0)
        values[f"HasAns_{name}"], values[f"NoAns_{name}"] = score(name, 0.0, True), score(name, 0.0, False)
        thresholds = [-math.inf, *(row["no_answer_score"] for row in predictions)]
        values[f"best_{name}_chosen_on_eval"] = max(score(name, threshold, searching=True) for threshold in thresholds)
    return values


def test_squad_v2_equals_a_search_from_the_definition() -> None:
    generator = np.random.default_rng(3)
    for _ in range(150):
        predictions, references = questions(generator, int(generator.integers(1, 25)), unanswerable=True)
        found = computed("squad_v2", predictions, references)
        for name, value in brute_force_v2(predictions, references).items():
            if not math.isnan(value):
                assert found[name] == pytest.approx(value, abs=1e-3), name


def test_where_nothing_answered_is_best_the_threshold_is_below_every_score() -> None:
    predictions = [{"id": "q", "prediction_text": "cat", "no_answer_score": -1.5}]
    found = computed("squad_v2", predictions, [{"id": "q", "answers": {"text": [], "answer_start": []}}])
    assert (found["f1"], found["best_f1_chosen_on_eval"]) == (0, 100)
    assert -1.51 < found["best_f1_chosen_on_eval_threshold"] < -1.5


def made_tie(generator: np.random.Generator) -> list[Fraction]:
    """Return what answering each question in turn gains: four times six worth 3 together, then three that lose 3."""
    gains = []
    for _ in range(4):
        halves = [Fraction(int(generator.integers(1, words)), int(words)) for words in generator.integers(3, 14, 3)]
        gains += [*halves, *(1 - half for half in halves), *[Fraction(-1)] * 3]
    return gains


def test_the_best_threshold_is_the_lowest_of_those_that_tie() -> None:
    # Sums of fractions are exact; sums of floats take another threshold for some of them.
    generator, broken_by_floats = np.random.default_rng(11), 0
    for _ in range(200):
        gains = made_tie(generator)
        raw, answerable = np.array([max(float(gain), 0.0) for gain in gains]), np.array([gain > 0 for gain in gains])
        order = generator.permutation(len(gains))
        scores, empty = np.arange(len(gains), dtype=float), np.zeros(len(gains), bool)
        value, threshold = best_threshold(raw[order], answerable[order], scores[order], empty)
        assert (value, threshold) == (15 / len(gains), 5.0)  # 12 unanswerable questions and the first six answers
        totals = 12 + np.concatenate([[0.0], np.cumsum(np.where(answerable, raw, -1.0))])
        broken_by_floats += int(totals.argmax()) != 6
    assert broken_by_floats > 0


def test_a_threshold_reaches_the_value_that_is_given_with_it() -> None:
    generator = np.random.default_rng(12)
    for _ in range(100):
        predictions, references = questions(generator, int(generator.integers(1, 25)), unanswerable=True)
        predictions = [row | {"prediction_text": f"dog {row['prediction_text']}"} for row in predictions]
        found = computed("squad_v2", predictions, references)
        for name in ("exact_match", "f1"):
            threshold = found[f"best_{name}_chosen_on_eval_threshold"]
            moved = [row | {"no_answer_score": row["no_answer_score"] - threshold} for row in predictions]
            reached = computed("squad_v2", moved, references)[name]
            assert reached == pytest.approx(found[f"best_{name}_chosen_on_eval"])


def test_a_question_whose_score_is_no_number_is_answered_at_every_threshold() -> None:
    raw, answerable = np.array([1.0, 1.0, 0.5]), np.array([True, False, True])
    value, threshold = best_threshold(raw, answerable, np.array([math.nan, 1.0, 0.0]), np.zeros(3, bool))
    assert (value, threshold) == (2.5 / 3, 0.0)
    value, threshold = best_threshold(raw[1:2], answerable[1:2], np.array([math.nan]), np.zeros(1, bool))
    assert (value, threshold) == (0.0, 0.0)  # nothing leaves it unanswered


def test_the_best_threshold_is_finite_whatever_the_scores() -> None:
    generator = np.random.default_rng(13)
    for _ in range(200):
        scores = generator.choice([math.nan, -math.inf, -sys.float_info.max, -1.5, 0.0, 2.0, math.inf], size=4)
        answerable = generator.random(4) < 0.5
        raw = answerable.astype(float)
        value, threshold = best_threshold(raw, answerable, scores, np.zeros(4, bool))
        assert math.isfinite(threshold)
        with np.errstate(over="ignore"):  # a difference may be infinite
            assert value == points_at_zero(raw, answerable, scores - threshold).mean()


@pytest.mark.parametrize("name", ["squad", "squad_v2"])
def test_a_question_without_a_prediction_is_refused(name: str) -> None:
    predictions, references = questions(np.random.default_rng(4), 5, unanswerable=name == "squad_v2")
    stranger = [*predictions[:4], predictions[4] | {"id": "x"}]
    with pytest.raises(GeloraError, match=r"2 ids .*q4, is only a question"):
        computed(name, stranger, references)
    with pytest.raises(GeloraError, match="an id comes twice"):
        computed(name, [*predictions[:4], predictions[0]], references)
    with pytest.raises(GeloraError, match="no predictions were added"):
        load_metric(name).compute()


def test_squad_refuses_a_question_without_an_answer() -> None:
    predictions, references = questions(np.random.default_rng(5), 3, unanswerable=False)
    references[1]["answers"] = {"text": [], "answer_start": []}
    with pytest.raises(GeloraError, match=r"question q1 .*squad_v2"):
        computed("squad", predictions, references)
