"""Spectra of what linear layers read, against plain numpy, and what survives a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from peft.utils.incremental_pca import IncrementalPCA

from gelora_cli.config.schema import ProfileConfig, RunConfig, TaskConfig
from gelora_cli.core.artifacts.signals import ActivationSignal, Spectrum
from gelora_cli.core.codec import from_json, to_json
from gelora_cli.core.errors import GeloraError
from gelora_cli.data.collate import collate
from gelora_cli.data.windows import encode_windows
from gelora_cli.geometry import activations
from gelora_cli.geometry.jackknife import FOLDS, fold_of_texts
from gelora_cli.geometry.moments import MomentSums, merged, pack, unpack, without
from gelora_cli.signals.activations import Activations
from gelora_cli.signals.base import SignalContext
from tests.helpers.rows import rows
from tests.helpers.signal_contexts import on_two_threads, signal_context
from tests.helpers.squad_cases import LONG, TASK, split_of
from tests.helpers.tiny import DECODERS, KINDS, make_tokenizer

TEXTS = [row["sentence"] for row in rows("cola", 30, seed=1)]
TEXTS.append(TEXTS[3])  # a copy, which stays in the tenth of the first one


def direct_spectrum(vectors: NDArray[np.float64]) -> Spectrum:
    """Return the spectrum of the covariance of vectors (n, D) by numpy alone."""
    eigenvalues = np.linalg.eigvalsh(np.cov(vectors.T, bias=True))[::-1].clip(0)
    shares = eigenvalues / eigenvalues.sum()
    positive = shares[shares > 0]
    effective = float(np.exp(-(positive * np.log(positive)).sum()))
    return Spectrum(effective, float(1 / (shares**2).sum()), tuple(shares[: activations.MOST_SHARES]))


def assert_same(one: Spectrum, other: Spectrum, tolerance: float) -> None:
    assert one.effective_rank == pytest.approx(other.effective_rank, rel=tolerance)
    assert one.participation_ratio == pytest.approx(other.participation_ratio, rel=tolerance)
    np.testing.assert_allclose(one.explained, other.explained, rtol=tolerance, atol=tolerance * one.explained[0])


def read_one_by_one(context: SignalContext, name: str) -> list[NDArray[np.float64]]:
    """Return what a linear reads on each text alone, without padding: (T, D) each."""
    seen: list[NDArray[np.float64]] = []
    split = context.examples()
    hook = context.model.get_submodule(name).register_forward_hook(
        lambda _, args, __: calls.append(args[0][0].double().numpy())
    )
    for row in range(len(split)):
        calls: list[NDArray[np.float64]] = []
        with torch.no_grad():
            context.model.base_model(**collate(split, np.array([row]), 0, torch.device("cpu")).inputs)
        seen.append(calls[0])  # DeBERTa's query is called again with embeddings of positions
    hook.remove()
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_the_spectra_of_every_kind_are_those_of_the_tokens(
    tiny_models: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    context = signal_context(tiny_models[kind], kind, TEXTS, place=tmp_path)
    signal = Activations().measure(context)
    # Of each block: query, key and value together, output, up (with gate, where there is one), down.
    assert [len(row.names) for row in signal.inputs] == [3, 1, 2 if kind in DECODERS else 1, 1] * 3
    names = [linear.name for block in context.model_map.blocks for linear in block.linears]
    assert sorted(name for row in signal.inputs for name in row.names) == sorted(names)
    split = context.examples()
    fold = fold_of_texts(split.texts(), FOLDS, context.profile.seed)
    assert fold[3] == fold[-1]
    assert (signal.examples, signal.tokens) == (31, len(split.tokens))
    for row in (signal.inputs[0], signal.inputs[-1]):
        vectors = read_one_by_one(context, row.names[0])
        assert_same(row.spectrum, direct_spectrum(np.concatenate(vectors)), 2e-5)
        for tenth in (0, 7):
            left = [text for text, part in zip(vectors, fold, strict=True) if part != tenth]
            assert_same(row.jackknife[tenth], direct_spectrum(np.concatenate(left)), 2e-5)
        assert len({spectrum.effective_rank for spectrum in row.jackknife}) == FOLDS
    from_json(ActivationSignal, to_json(signal), "the signal")  # what was measured can be written and read


def test_all_windows_of_a_question_are_left_out_together(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    questions = split_of(*((f"who sat {number}", LONG if number % 3 else "a cat sat", "cat") for number in range(12)))
    windows = encode_windows(questions, make_tokenizer("bert"), TASK)
    context = signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path, encoded=windows)
    fold = fold_of_texts(windows.texts(), FOLDS, context.profile.seed)
    assert len(windows) > 2 * len(questions)
    assert [len(set(fold[windows.question_row == question])) for question in range(12)] == [1] * 12
    signal = Activations().measure(context)
    assert (signal.examples, signal.tokens) == (len(windows), len(windows.tokens))
    vectors = read_one_by_one(context, signal.inputs[1].names[0])
    left = [window for window, part in zip(vectors, fold, strict=True) if part != 4]
    assert_same(signal.inputs[1].jackknife[4], direct_spectrum(np.concatenate(left)), 2e-5)


def test_the_shares_are_those_that_eva_ranks_by(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    context = signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path)
    for row in Activations().measure(context).inputs[4:8]:  # the second block
        tokens = torch.from_numpy(np.concatenate(read_one_by_one(context, row.names[0]))).float()
        pca = IncrementalPCA(n_components=tokens.shape[1])  # PEFT's, by which its EVA takes in batch after batch
        for batch in torch.chunk(tokens, 3):
            pca.partial_fit(batch)  # type: ignore[no-untyped-call]
        np.testing.assert_allclose(pca.explained_variance_ratio_, row.spectrum.explained, atol=2e-6)


def test_batches_and_groups_of_inputs_change_nothing(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Activations().measure(signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path / "a"))
    other = Activations().measure(
        signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path / "b", batch_size=3)
    )
    for one, two in zip(whole.inputs, other.inputs, strict=True):
        assert_same(one.spectrum, two.spectrum, 1e-5)
    monkeypatch.setattr(activations, "ROOM_BYTES", 12 * (32**2 + 64**2))  # two inputs of a tiny model
    in_groups = Activations().measure(signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path / "c"))
    assert in_groups.inputs == whole.inputs


def test_two_processes_measure_what_one_does_bit_by_bit(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, module = tiny_models["deberta-v2"], "gelora_cli.geometry.activations"
    alone = Activations().measure(signal_context(path, "deberta-v2", TEXTS, place=tmp_path / "alone"))
    contexts = [signal_context(path, "deberta-v2", TEXTS, place=tmp_path / "two") for _ in range(2)]
    first, second = on_two_threads(
        monkeypatch,
        [module],
        lambda accelerator: Activations().measure(
            replace(contexts[accelerator.process_index], accelerator=accelerator)
        ),
    )
    assert first.inputs == second.inputs == alone.inputs


def dies_after(calls_before: int, name: str) -> Callable[..., None]:
    """Return the method of a measurement, which raises KeyboardInterrupt after so many calls."""
    method = getattr(activations._Measurement, name)
    left = [calls_before]

    def dies(*arguments: object) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        method(*arguments)

    return dies


def test_a_killed_measurement_resumes_to_the_same_bytes(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def context(place: Path) -> SignalContext:
        return signal_context(tiny_models["bert"], "bert", TEXTS, place=place)

    whole = Activations().measure(context(tmp_path / "whole"))
    killed = tmp_path / "killed"
    # Killed in the sums of the fifth tenth, then at the third spectrum.
    for name, calls_before in (("_sum_tenth", 4), ("_decompose_input", 2)):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(activations._Measurement, name, dies_after(calls_before, name))
            Activations().measure(context(killed))
    resumed = Activations().measure(context(killed))
    assert resumed.inputs == whole.inputs
    again = context(killed)
    monkeypatch.setattr(activations._Measurement, "_sum_tenth", None)  # all spectra are there: nothing is read again
    assert Activations().measure(again).inputs == whole.inputs
    assert len(list((killed / "states").iterdir())) == len(whole.inputs)  # the sums are gone


def test_the_model_and_the_random_state_are_left_as_they_were(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    context = signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path)
    context.model.train()
    context.model.base_model.eval()
    modes = [module.training for module in context.model.modules()]
    state = torch.get_rng_state()
    Activations().measure(context)
    assert [module.training for module in context.model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in context.model.modules())


def test_too_few_texts_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match="12 rows have too few different texts for 10 parts"):
        Activations().measure(signal_context(tiny_models["bert"], "bert", [*TEXTS[:9], *TEXTS[:3]], place=tmp_path))


def test_inputs_that_are_not_finite_are_refused(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    context = signal_context(tiny_models["bert"], "bert", TEXTS, place=tmp_path)
    name = context.model_map.blocks[0].linears[-1].name
    context.model.get_parameter(f"{name}.weight").data[0] = float("inf")
    with pytest.raises(GeloraError, match=r"encoder\.layer\.1\.\S+ reads NaN or infinite values"):
        Activations().measure(context)


def test_runs_share_it_by_texts_lengths_and_the_draw() -> None:
    signal, config, prints = Activations(), RunConfig(), {"model": "m", "train": "t"}
    shared = signal.sharing_hash(config, prints)
    profile = ProfileConfig(pooling="cls", estimator="mle")  # of the idim alone
    task = TaskConfig(stride=7)  # of windows, which this task has none of
    assert signal.sharing_hash(replace(config, profile=profile, task=task), prints) == shared
    for changed in (ProfileConfig(seed=1), ProfileConfig(max_examples=50)):
        assert signal.sharing_hash(replace(config, profile=changed), prints) != shared
    assert signal.sharing_hash(config, prints | {"train": "u"}) != shared


def test_moments_lose_nothing_beside_a_large_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(300, 5, generator=generator) * torch.tensor([1.0, 0.1, 3.0, 1.0, 1.0]) + 1_000.0
    device = torch.device("cpu")
    sums = [MomentSums(5, device) for _ in range(3)]
    for number, batch in enumerate(torch.chunk(vectors, 6)):
        sums[number // 2].add(batch)
    parts = [unpack(*pack(part.moments()), device) for part in sums]
    whole = merged(merged(parts[0], parts[1]), parts[2])
    for moments, left in ((whole, vectors), (without(whole, parts[1]), torch.cat([vectors[:100], vectors[200:]]))):
        assert moments.count == len(left)
        np.testing.assert_allclose(moments.mean, left.double().mean(0), rtol=1e-9)
        covariance = np.triu(np.cov(left.double().numpy().T, bias=True))
        np.testing.assert_allclose(moments.scatter.triu() / len(left), covariance, rtol=2e-6, atol=2e-7)


def test_equal_vectors_have_no_directions() -> None:
    sums = MomentSums(4, torch.device("cpu"))
    sums.add(torch.full((7, 4), 0.3))
    assert activations.spectrum_of(sums.moments()) == Spectrum(0.0, 0.0, (0.0,) * 4)
