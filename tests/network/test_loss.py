"""The losses and their slopes against torch's own functions and autograd."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from jamtools.errors import InputError
from jamtools.network.loss import Loss, misclassified
from tests.support import oracle


def outputs(P: int, C: int, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    f = scale * torch.randn(P, C, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return f, oracle.sphere(P, 3, outputs=C)[1]


@pytest.mark.parametrize("C", [1, 4])
def test_hinge_is_the_formula_of_the_paper(C):
    f, y = outputs(40, C)
    assert torch.allclose(Loss("hinge", 0.5, 40, C).value(f, y), oracle.hinge(f, y), rtol=1e-14)


def test_cross_entropy_equals_torch_s():
    f, y = outputs(40, 1, scale=30)  # large arguments: log(1 + e^-x) must not overflow or be truncated
    exact = F.binary_cross_entropy_with_logits(f, (y + 1) / 2)
    assert torch.allclose(Loss("cross-entropy", 0.0, 40).value(f, y), exact, rtol=1e-14)
    f, y = outputs(40, 4, scale=30)
    assert torch.allclose(
        Loss("cross-entropy", 0.0, 40, 4).value(f, y), F.cross_entropy(f, y.argmax(1)), rtol=1e-14
    )


@pytest.mark.parametrize("C", [1, 4])
@pytest.mark.parametrize("name", ["hinge", "cross-entropy"])
def test_slope_equals_autograd(name, C):
    f, y = outputs(40, C)
    loss = Loss(name, 0.5 if name == "hinge" else 0.0, 40, C)
    assert torch.allclose(
        loss.slope(f, y), torch.func.grad(lambda g: loss.value(g, y))(f), rtol=1e-13, atol=1e-16
    )


@pytest.mark.parametrize(("epsilon", "contact"), [(0.5, 5e-11), (-0.5, 5e-11), (-2.0, 2e-10), (0.0, 1e-10)])
def test_a_contact_is_measured_in_the_size_of_the_margin(epsilon, contact):
    loss, y = Loss("hinge", epsilon, 3), torch.ones(3, 1, dtype=torch.float64)
    assert loss.contact == pytest.approx(contact, rel=1e-15)
    gaps = torch.tensor([[2 * contact], [contact / 2], [-contact]], dtype=torch.float64)
    assert loss.unsatisfied(loss.gaps(y * (epsilon - gaps), y))[:, 0].tolist() == [True, False, False]
    assert Loss("cross-entropy", 0.0, 3).contact == 0


def test_satisfied_patterns_and_contacts_have_no_hinge_loss():
    loss, y = Loss("hinge", 0.5, 3), torch.ones(3, 1, dtype=torch.float64)
    f = torch.tensor([[0.6], [0.5], [0.4]], dtype=torch.float64)
    assert (loss.gaps(f, y) > 0)[:, 0].tolist() == [False, False, True]
    assert loss.slope(f, y)[:2].abs().max() == 0


def test_epsilon_only_fixes_a_scale():
    f, y = outputs(40, 1)
    one, two = Loss("hinge", 0.5, 40), Loss("hinge", 1.0, 40)
    assert torch.allclose(two.value(2 * f, y), 4 * one.value(f, y), rtol=1e-14)
    assert torch.equal(two.gaps(2 * f, y) > 0, one.gaps(f, y) > 0)


def test_misclassified_counts_wrong_signs_and_wrong_maxima():
    y = torch.tensor([[1.0], [1.0], [-1.0]])
    assert misclassified(torch.tensor([[0.1], [-0.1], [-2.0]]), y).tolist() == [False, True, False]
    y = torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])
    f = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert misclassified(f, y).tolist() == [False, True]


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="expected one of hinge"):
        Loss("absolute", 0.5, 3)
