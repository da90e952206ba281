"""Laws are recovered from points that follow them, and projections agree with counts by hand."""

from __future__ import annotations

import pytest

from scripts.benchmarks.laws import fit_line, fit_power
from scripts.benchmarks.projections import Grid, deberta_on_mnli, decoder_on_prompts, hours, transformer


def test_a_power_and_a_line_are_recovered() -> None:
    sizes = (10.0, 20.0, 40.0)
    power = fit_power(sizes, [3 * size**1.5 for size in sizes])
    assert (power.a, power.b, power.r2) == pytest.approx((3, 1.5, 1))
    assert power.at(160) == pytest.approx(3 * 160**1.5)
    line = fit_line(sizes, [2 + 0.5 * size for size in sizes])
    assert (line.a, line.b, line.residual) == pytest.approx((2, 0.5, 0), abs=1e-9)
    assert line.at(2000) == pytest.approx(1002)
    assert fit_line(sizes, [1.0, 4.0, 2.0]).r2 < 0.5


def test_a_forward_pass_is_two_operations_a_weight_and_token() -> None:
    prompts = decoder_on_prompts()
    weights = sum(
        linear.in_features * linear.out_features for block in prompts.shapes.blocks for linear in block.linears
    )
    attention = 4 * prompts.load.pairs * prompts.width * prompts.layers
    assert prompts.forward == 2 * weights * prompts.load.tokens + attention
    assert 6.5e9 < weights < 7.5e9  # 8B with the embeddings


def test_an_epoch_of_lora_costs_less_than_three_passes() -> None:
    mnli = deberta_on_mnli()
    assert 2 * mnli.forward < mnli.epoch < 3 * mnli.forward
    rows = mnli.quadratic_from
    assert mnli.neighbours(rows) == pytest.approx(mnli.forward / mnli.rows * rows, rel=1e-3)
    assert mnli.state_bytes(mnli.rows) == 392_702 * 768 * 4


def test_a_grid_takes_its_waves() -> None:
    law = fit_line((1.0, 2.0), (1.0, 1.5))
    rows = {what: value for what, value, _ in Grid(100, 64, 10, 1000).rows(60.0, law, law)}
    assert rows["training"] == "2 min"
    assert rows["files"] == "1,000"
    assert rows["`gelora ls`"] == "50.5 s"


def test_seconds_are_read_in_their_unit() -> None:
    assert [hours(value) for value in (5, 600, 7200)] == ["5 s", "10 min", "2.0 h"]
    assert len(transformer(2, 8, 16).blocks) == 2
