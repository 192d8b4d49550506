from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from jepa_core.nn.attentive import AttentiveClassifier

WIDTH, HEADS, CLASSES = 24, 4, 5


def classifier(blocks: int = 1) -> AttentiveClassifier:
    """Every parameter random, so that nothing is right by being zero or one."""
    made = AttentiveClassifier(WIDTH, HEADS, CLASSES, blocks)
    generator = torch.Generator().manual_seed(1)
    for parameter in made.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return made.eval()


def tokens(samples: int = 3, count: int = 7) -> Tensor:
    return 2 + torch.randn(samples, count, WIDTH, generator=torch.Generator().manual_seed(0))


def heads_of(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def by_the_book(made: AttentiveClassifier, tokens: Tensor) -> Tensor:
    """Keys and values of every token, by the definition."""
    for block in made.blocks:
        tokens = block(tokens, None)
    normed = made.norm1(tokens)
    query = made.q(made.query).expand(len(tokens), 1, -1)
    key, value = made.kv(normed).chunk(2, dim=-1)
    answer = F.scaled_dot_product_attention(heads_of(query), heads_of(key), heads_of(value))
    pooled = made.query + answer.transpose(1, 2).flatten(2)  # no projection after it
    pooled = pooled + made.mlp(made.norm2(pooled))
    return made.linear(pooled)[:, 0]


@pytest.mark.parametrize("blocks", [1, 4])
def test_it_is_cross_attention_by_the_book_without_keys_and_values_per_token(blocks: int) -> None:
    made = classifier(blocks)
    torch.testing.assert_close(made(tokens()), by_the_book(made, tokens()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, 4])
def test_its_gradients_are_those_of_the_book(blocks: int) -> None:
    ours, reference = classifier(blocks), classifier(blocks)
    ours(tokens()).square().sum().backward()
    by_the_book(reference, tokens()).square().sum().backward()
    for (name, one), other in zip(ours.named_parameters(), reference.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-3, msg=name)
        assert one.grad.abs().max() > 0, name


def test_logits_have_a_row_per_sample_whatever_the_number_of_tokens() -> None:
    made = classifier()
    assert made(tokens(3, 7)).shape == (3, CLASSES)
    assert made(tokens(2, 1)).shape == (2, CLASSES)


@pytest.mark.parametrize("blocks", [1, 4])
def test_the_order_of_the_tokens_does_not_matter_and_their_content_does(blocks: int) -> None:
    made, given = classifier(blocks), tokens()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(made(given[:, order]), made(given), rtol=1e-4, atol=1e-4)
    changed = given.clone()
    changed[:, 0] = -changed[:, 0]
    assert not torch.allclose(made(changed), made(given), atol=1e-2)


def test_samples_do_not_see_each_other() -> None:
    made = classifier(blocks=2)
    torch.testing.assert_close(made(tokens())[1:2], made(tokens()[1:2]), rtol=1e-5, atol=1e-5)


def test_the_mlp_is_four_times_as_wide_and_blocks_before_the_last_are_self_attention() -> None:
    made = AttentiveClassifier(WIDTH, HEADS, CLASSES, blocks=4)
    assert made.mlp.fc1.out_features == 4 * WIDTH
    assert [block.mlp.fc1.out_features for block in made.blocks] == [4 * WIDTH] * 3  # pyright: ignore[reportAttributeAccessIssue]
    assert {module.eps for module in made.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-5}
    assert len(AttentiveClassifier(WIDTH, HEADS, CLASSES).blocks) == 0


def test_first_weights_come_from_the_global_generator() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, other = AttentiveClassifier(WIDTH, HEADS, CLASSES), AttentiveClassifier(WIDTH, HEADS, CLASSES)
        torch.manual_seed(0)
        again = AttentiveClassifier(WIDTH, HEADS, CLASSES)
    assert torch.equal(one(tokens()), again(tokens()))
    assert not torch.equal(one(tokens()), other(tokens()))
