from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gelora_cli.geometry.theory import (
    FAMILIES,
    Outputs,
    fisher_matrix,
    flat_model,
    local_dimensionality,
    neighbourhood,
)
from gelora_cli.geometry.twonn import estimate_idim


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_rank(rank: int, n: int = 40, columns: int = 6) -> Tensor:
    """Return a matrix (n, columns) of this rank."""
    return draw(n, rank, seed=1) @ draw(rank, columns, seed=2)


def softmax_model(classes: int) -> Outputs:
    return lambda params, x: params.view(classes, -1) @ x


def logistic(params: Tensor, x: Tensor) -> Tensor:
    return torch.stack((torch.zeros_like(params[0]), params @ x))


def half_squared(params: Tensor, _: Tensor) -> Tensor:
    """Return the means theta_1 of labels that are 0: the loss is `0.5 * theta_1^2`."""
    return params[:1]


def test_the_half_squared_loss_has_local_dimensionality_1_of_2() -> None:
    found = local_dimensionality(half_squared, torch.tensor([0.7, -1.3]), torch.zeros(1, 1), family="gaussian")
    assert (found.rank, found.parameters) == (1, 2)
    assert found.eigenvalues.tolist() == [1.0]
    flat = fisher_matrix(half_squared, torch.tensor([0.7, -1.3]), torch.zeros(1, 1), family="gaussian")
    assert flat.tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_logistic_regression_has_the_rank_of_its_data(rank: int) -> None:
    # F = X^T diag(p (1 - p)) X / n.
    params, x = draw(6, seed=3), of_rank(rank)
    found = local_dimensionality(logistic, params, x)
    chances = (x @ params).sigmoid()
    expected = x.T @ ((chances * (1 - chances))[:, None] * x) / len(x)
    torch.testing.assert_close(fisher_matrix(logistic, params, x), expected)
    torch.testing.assert_close(found.eigenvalues.flip(0), torch.linalg.eigvalsh(expected), rtol=1e-9, atol=1e-12)
    assert found.rank == rank


@pytest.mark.parametrize(("classes", "rank"), [(2, 2), (3, 4), (5, 1)])
def test_softmax_loses_its_gauge_direction(classes: int, rank: int) -> None:
    # The same vector added to every class's weights changes no probability: (K - 1) * rank.
    params, x = draw(classes * 6, seed=3), of_rank(rank)
    assert local_dimensionality(softmax_model(classes), params, x).rank == (classes - 1) * rank
    gauge = draw(6, seed=4).repeat(classes)
    fisher = fisher_matrix(softmax_model(classes), params, x)
    torch.testing.assert_close(fisher @ gauge, torch.zeros_like(gauge), rtol=0, atol=1e-12)


def test_fisher_is_the_expectation_over_the_models_own_labels() -> None:
    # The definition has gradients of log p of every label, and not those of the labels that might be observed.
    params, x, model = draw(18, seed=3), of_rank(6, n=7), softmax_model(3)
    expected = torch.zeros(18, 18, dtype=torch.float64)
    for example in x:
        for label in range(3):
            variable = params.clone().requires_grad_(True)
            logs = model(variable, example).log_softmax(-1)
            (gradient,) = torch.autograd.grad(logs[label], variable)
            expected += logs[label].exp().detach() * torch.outer(gradient, gradient) / len(x)
    torch.testing.assert_close(fisher_matrix(model, params, x), expected)


@pytest.mark.parametrize(("inner", "outer", "rank"), [(2, 3, 2), (3, 4, 4), (5, 3, 2)])
def test_a_two_layer_linear_network_loses_its_symmetries(inner: int, outer: int, rank: int) -> None:
    # `y = B A x`: B G and G^-1 A are one model for all invertible G, so k (out + in - k) directions are left; with
    # inputs of rank r only r of the columns of A are seen.
    first, second = nn.Linear(6, inner, bias=False), nn.Linear(inner, outer, bias=False)
    with torch.no_grad():
        first.weight.copy_(draw(inner, 6, seed=5))
        second.weight.copy_(draw(outer, inner, seed=6))
    outputs, params = flat_model(nn.Sequential(first, second))
    seen = min(inner, outer, rank)
    expected = seen * (outer + rank - seen)
    found = local_dimensionality(outputs, params, of_rank(rank), family="gaussian")
    assert (found.rank, found.parameters) == (expected, inner * (6 + outer))


def test_a_network_of_tanh_is_seen_below_what_products_resolve() -> None:
    # All 13 parameters count, though the smallest eigenvalue is below P u of the largest.
    found = local_dimensionality(*tanh_network(4), torch.linspace(-2, 2, 60)[:, None].double(), family="gaussian")
    assert found.rank == found.parameters == 13
    unit = torch.finfo(torch.float64).eps
    assert found.tolerance < found.eigenvalues[-1] < found.parameters * unit * found.eigenvalues[0]


def tanh_network(width: int) -> tuple[Outputs, Tensor]:
    outputs, params = flat_model(nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)))
    return outputs, 0.3 * draw(len(params), seed=7)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("n", [3, 500])
def test_rows_and_triangle_give_one_spectrum(family: str, n: int) -> None:
    # Fewer rows than parameters, and many more, are folded as they come; all is as from the matrix itself.
    params, x, model = draw(18, seed=3), of_rank(6, n=n), softmax_model(3)
    found = local_dimensionality(model, params, x, family=family, chunk=7)
    expected = torch.linalg.eigvalsh(fisher_matrix(model, params, x, family=family)).flip(0)
    torch.testing.assert_close(found.eigenvalues, expected[: len(found.eigenvalues)], rtol=1e-9, atol=1e-12)
    whole = local_dimensionality(model, params, x, family=family, chunk=n)
    torch.testing.assert_close(found.eigenvalues, whole.eigenvalues, rtol=1e-10, atol=1e-25)
    assert found.rank == whole.rank == min(18, n * 3) - (6 if n > 3 else 3) * (family == "categorical")


def test_the_order_of_the_examples_does_not_count_and_their_number_does() -> None:
    params, x, model = draw(18, seed=3), of_rank(6, n=60), softmax_model(3)
    ranks = [local_dimensionality(model, params, rows).rank for rows in (x, x.flip(0), x[:2])]
    assert ranks == [12, 12, 4]


def test_a_flat_model_computes_what_its_module_does() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    outputs, params = flat_model(module)
    x = draw(5, 3)
    expected = module.double().eval()(x)
    torch.testing.assert_close(torch.stack([outputs(params, row) for row in x]), expected)
    assert len(params) == sum(parameter.numel() for parameter in module.parameters())


def test_tied_parameters_count_once() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = module[0].weight
    outputs, params = flat_model(module)
    assert len(params) == 9 + 6
    torch.testing.assert_close(outputs(params, torch.ones(3).double()), module.double()(torch.ones(3).double()))


@pytest.mark.parametrize(
    ("outputs", "params", "rank"),
    [
        (half_squared, torch.tensor([0.7, -1.3]), 1),
        (lambda params, x: params[:1] * params[1:] * x, torch.tensor([1.0, 2.0]), 1),
        (lambda params, x: torch.sin(params * x), torch.tensor([0.4, 1.0]), 2),
    ],
)
def test_models_near_a_regular_point_have_the_idim_of_its_rank(
    outputs: Callable[[Tensor, Tensor], Tensor], params: Tensor, rank: int
) -> None:
    x = torch.linspace(0.5, 2, 4).double()[:, None]
    assert local_dimensionality(outputs, params, x, family="gaussian").rank == rank
    points = neighbourhood(outputs, params, x, radius=0.3, points=600, seed=0, family="gaussian")
    found = estimate_idim(points.numpy())
    assert found.low <= rank <= found.high


def test_at_a_singular_point_the_rank_is_below_the_idim() -> None:
    # `f = a b x` at 0: no gradient there, though the models around it are a line.
    params, x = torch.zeros(2), torch.ones(1, 1)
    assert local_dimensionality(lambda p, x: p[:1] * p[1:] * x, params, x, family="gaussian").rank == 0


def test_a_neighbourhood_has_the_metric_of_fisher() -> None:
    # |z(phi + step) - z(phi)|^2 = n step^T F step for a small step.
    params, x, model, small = draw(18, seed=3), of_rank(6, n=5), softmax_model(3), 1e-5
    points = neighbourhood(model, params, x, radius=small, points=2, seed=0)
    noise = torch.rand(2, 18, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 2 * small * (noise[1] - noise[0])
    expected = len(x) * float(step @ fisher_matrix(model, params, x) @ step)
    assert math.isclose(float((points[1] - points[0]).square().sum()), expected, rel_tol=1e-3)


def test_wrong_families_shapes_and_values_are_refused() -> None:
    x = torch.ones(2, 6)
    with pytest.raises(ValueError, match="categorical and gaussian"):
        local_dimensionality(logistic, torch.ones(6), x, family="poisson")
    for params, inputs in ((torch.ones(2, 3), x), (torch.ones(0), x), (torch.ones(6), x[:0])):
        with pytest.raises(ValueError, match="at least one"):
            local_dimensionality(logistic, params, inputs)
    with pytest.raises(ValueError, match="finite"):
        local_dimensionality(lambda p, x: p.sqrt(), torch.zeros(6), x)
