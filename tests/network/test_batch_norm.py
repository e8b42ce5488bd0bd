"""Batch normalisation against torch's BatchNorm1d and autograd, and the count of its effective parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jamtools.cusps.counting import count
from jamtools.errors import InputError
from jamtools.hessian.assembly import hessian
from jamtools.hessian.exact import exact_spectrum
from jamtools.network import batch_norm, effective
from jamtools.network.architecture import Architecture
from jamtools.network.initialisation import initial_parameters
from jamtools.network.loss import Loss
from jamtools.network.passes import forward, layers_of
from jamtools.network.problem import Problem
from jamtools.protocols import TrainingOptions, with_options
from jamtools.training.ensemble import train
from jamtools.training.job import Compute
from tests.support import oracle

#: (d, h, L, C)
SHAPES = [(3, 4, 1, 1), (5, 4, 2, 1), (4, 6, 3, 1), (2, 3, 5, 1), (4, 5, 3, 3)]
#: The round-off of sums of some hundred terms of order one, divided by s_j in each layer.
ROUNDING = 1e-12


def module(arch: Architecture, theta: torch.Tensor) -> nn.Sequential:
    """A network of torch: Linear, BatchNorm1d and ρ in each layer, with theta as its parameters in the order of torch."""
    layers: list[nn.Module] = []
    for j, (out, fan_in) in enumerate(arch.shapes):
        layers.append(nn.Linear(fan_in, out, dtype=theta.dtype))
        if j < arch.depth:
            # with momentum None the running statistics are those of the only batch so far
            layers += [
                nn.BatchNorm1d(out, momentum=None, dtype=theta.dtype),
                oracle.ACTIVATION_MODULES[arch.activation](),
            ]
    net = nn.Sequential(*layers)
    nn.utils.vector_to_parameters(theta, net.parameters())
    return net


def parameters(arch: Architecture, seed: int = 0) -> torch.Tensor:
    """Initial parameters plus noise, so that gains differ from 1 and shifts from 0."""
    rng = np.random.default_rng(seed)
    theta = initial_parameters(arch, "torch", seed)
    return torch.from_numpy(theta + 0.3 * rng.standard_normal(len(theta)))


@pytest.fixture(params=[(s, a) for s in SHAPES for a in ("relu", "tanh", "linear")], ids=str)
def case(request):
    (d, h, L, C), activation = request.param
    arch = Architecture(d, h, L, activation, C, batch_norm=True)
    return arch, parameters(arch), *oracle.sphere(40, d, outputs=C)


def test_theta_is_ordered_as_torch_orders_parameters(case):
    arch, theta, _, _ = case
    net = module(arch, theta)
    assert arch.n_parameters == sum(p.numel() for p in net.parameters()) == len(theta)
    assert torch.equal(nn.utils.parameters_to_vector(net.parameters()), theta)
    for j, (gain, shift) in enumerate(batch_norm.norms_of(theta, arch)):
        assert torch.equal(gain, net[3 * j + 1].weight)
        assert torch.equal(shift, net[3 * j + 1].bias)


def test_initial_parameters_have_gain_one_and_shift_zero():
    arch = Architecture(4, 5, 2, batch_norm=True)
    theta = torch.from_numpy(initial_parameters(arch, "torch", 3))
    for gain, shift in batch_norm.norms_of(theta, arch):
        assert (gain == 1).all()
        assert (shift == 0).all()
    plain = replace(arch, batch_norm=False)
    for ours, theirs in zip(
        layers_of(theta, arch), layers_of(torch.from_numpy(initial_parameters(plain, "torch", 3)), plain)
    ):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_the_forward_pass_equals_that_of_torch_with_batch_norm(case):
    arch, theta, x, _ = case
    ours = batch_norm.forward(theta, x, arch).f
    assert torch.allclose(ours, module(arch, theta)(x), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("name", ["hinge", "cross-entropy"])
def test_gradient_of_the_loss_equals_autograd(case, name):
    """Some patterns are satisfied; they act on the others through the statistics."""
    arch, theta, x, y = case
    loss = Loss(name, 0.5 if name == "hinge" else 0.0, len(x), arch.outputs)
    net = module(arch, theta)
    loss.value(net(x), y).backward()
    exact = torch.cat([p.grad.flatten() for p in net.parameters()])
    ours = Problem(x, y, arch, loss).evaluate(theta)
    assert 0 < ours.n_unsatisfied < y.numel(), "the planted state"
    assert torch.allclose(ours.gradient, exact, rtol=ROUNDING, atol=ROUNDING)


def test_the_gradient_of_a_normalised_bias_is_exactly_zero(case):
    arch, theta, x, y = case
    g = Problem(x, y, arch, Loss("hinge", 0.5, len(x), arch.outputs)).evaluate(theta).gradient
    for _, bias in layers_of(g, arch)[:-1]:
        assert (bias == 0).all()


def test_a_test_set_is_normalised_by_the_training_set_s_statistics(case):
    arch, theta, x, _ = case
    x_test, y_test = oracle.sphere(11, arch.d, seed=5, outputs=arch.outputs)
    net = module(arch, theta)
    net(x)  # sets the running statistics
    net.eval()
    for layer in net:
        if isinstance(layer, nn.BatchNorm1d):  # torch keeps the unbiased variance for evaluation
            layer.running_var *= (len(x) - 1) / len(x)
    statistics = batch_norm.forward(theta, x, arch)
    ours = batch_norm.forward(theta, x_test, arch, statistics).f
    assert torch.allclose(ours, net(x_test), rtol=ROUNDING, atol=ROUNDING)
    loss = Loss("hinge", 0.5, len(x_test), arch.outputs)
    problem = Problem(x_test, y_test, arch, loss, statistics_of=x)
    if arch.outputs == 1:
        misclassified = problem.loss_gaps_and_errors(theta)[2]
        assert torch.equal(misclassified, (y_test * ours < 0)[:, 0])


def test_a_batch_has_its_own_statistics():
    arch = Architecture(5, 6, 2, batch_norm=True)
    theta, (x, y) = parameters(arch), oracle.sphere(40, 5)
    chosen = torch.arange(3, 19)
    net = module(arch, theta)
    oracle.hinge(net(x[chosen]), y[chosen]).backward()
    exact = torch.cat([p.grad.flatten() for p in net.parameters()])
    ours = Problem(x, y, arch, Loss("hinge", 0.5, 40)).batch_gradient(theta, chosen)
    assert torch.allclose(ours, exact, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize(("d", "width", "depth"), [(4, 5, 1), (5, 6, 2), (6, 8, 3)])
def test_n_with_batch_normalisation_is_the_rank_of_f_and_equals_n_of_the_plain_network(
    activation, d, width, depth
):
    """N is the dimension in which f of the whole batch, normalised by itself, can change."""
    arch = Architecture(d, width, depth, activation, batch_norm=True)
    assert arch.n_effective == replace(arch, batch_norm=False).n_effective
    theta, (x, _) = parameters(arch, seed=1), oracle.sphere(2 * arch.n_parameters, d)
    state = batch_norm.forward(theta, x, arch)
    eye = torch.eye(len(x), dtype=x.dtype)
    jacobian = torch.stack([batch_norm.gradient(theta, state, row[:, None], arch) for row in eye])
    s = torch.linalg.svdvals(jacobian)
    rank = int((s > s[0] * max(jacobian.shape) * torch.finfo(s.dtype).eps).sum())
    assert rank == arch.n_effective
    assert s[rank - 1] > 1e6 * s[rank], "a clear gap"


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradient_descent_with_batch_normalisation_agrees_with_torch(activation):
    data, arch = oracle.dataset(60, 5), Architecture(5, 6, 2, activation, batch_norm=True)
    net = module(arch, torch.from_numpy(initial_parameters(arch, "orthogonal", 0)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    run = train(
        data, arch, with_options(TrainingOptions(), steps=100, optimizer="sgd", batch=0, lr=0.05), seed=0
    )
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)[:, None]
    for _ in range(100):
        optimizer.zero_grad()
        oracle.hinge(net(x), y).backward()
        optimizer.step()
    theirs = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    assert np.abs(run.theta - theirs).max() < 1e-11


def test_the_record_of_a_run_with_batch_normalisation_agrees_with_its_theta():
    data = oracle.dataset(60, 4, test=30)
    arch = Architecture(4, 5, 2, batch_norm=True)
    run = train(
        data, arch, with_options(TrainingOptions(), steps=50, optimizer="sgd", batch=10, lr=0.05), seed=1
    )
    assert run.info["batch_norm"] is True
    assert run.info["engine"] == "torch"
    assert Architecture.of(run.info) == arch
    f = batch_norm.forward(torch.from_numpy(run.theta), torch.from_numpy(data.x), arch)
    gaps = 0.5 - data.y * f.f[:, 0].numpy()
    assert np.abs(run.gaps - gaps).max() < 1e-13
    assert run.info["n_unsatisfied"] == (gaps > 0).sum()
    test_f = batch_norm.forward(torch.from_numpy(run.theta), torch.from_numpy(data.x_test), arch, f).f
    assert run.history["test_error"][-1] == (data.y_test * test_f[:, 0].numpy() < 0).mean()


def test_batch_normalisation_is_refused_where_patterns_must_be_independent():
    data, arch = oracle.dataset(20, 4), Architecture(4, 5, 2, batch_norm=True)
    run = train(data, arch, with_options(TrainingOptions(), steps=2), seed=0)
    problem = Problem.of(run, data)
    theta, x = problem.tensor(run.theta), problem.x
    for refused in (
        lambda: exact_spectrum(run, data),
        lambda: hessian(theta, problem),
        lambda: effective.effective_parameters(theta, x, arch),
        lambda: count(theta, problem),
        lambda: forward(layers_of(theta, arch), x, arch),
    ):
        with pytest.raises(InputError, match="train with batch_norm=False"):
            refused()
    with pytest.raises(InputError, match="use the torch engine"):
        train(data, arch, with_options(TrainingOptions(), steps=2), 0, Compute(engine="compiled"))
