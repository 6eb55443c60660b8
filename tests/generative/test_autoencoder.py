"""Autoencoders against principal components and the optimal linear filter."""

import pytest
import torch
from sklearn.decomposition import PCA

from generative.autoencoder import Autoencoder, AutoencoderConfig, reconstruction_loss
from generative.data import load
from generative.training import TrainingConfig, evaluate, fit, seeded


def test_a_linear_autoencoder_has_the_error_of_principal_components() -> None:
    x = load("digits").train
    with seeded(0):
        model = Autoencoder(64, AutoencoderConfig(8, hidden=()), shift=x.mean(0), scale=x.std())
    config = TrainingConfig(steps=1500, batch_size=1000, learning_rate=1e-2, evaluate_every=1500)
    fit(model, x, config=config, loss=reconstruction_loss)
    pca = PCA(8).fit(x.numpy())
    rest = x - torch.tensor(pca.inverse_transform(pca.transform(x.numpy())))
    best = float((rest / x.std()).square().sum(-1).mean())
    assert best * (1.0 - 1e-5) <= evaluate(model, x, loss=reconstruction_loss) < 1.01 * best


def test_a_denoising_autoencoder_finds_the_optimal_filter_which_gives_the_score() -> None:
    """Gaussian data: x̂(y) = C (C + σ² I)⁻¹ y, so x̂(y) − y = σ² ∇ log N(y; 0, C + σ² I)."""
    generator = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.6, 0.4]])
    sigma = 0.5
    with seeded(0):
        model = Autoencoder(3, AutoencoderConfig(3, hidden=(), noise=sigma))

    def fresh(count: int, draws: torch.Generator) -> list[torch.Tensor]:
        return [torch.randn(count, 3, generator=draws) @ root.T]

    config = TrainingConfig(steps=1500, batch_size=1000, learning_rate=1e-2, average=0.99, evaluate_every=1500)
    fit(model, fresh, config=config, loss=reconstruction_loss)
    y = torch.randn(200, 3, generator=generator)
    noisy = torch.distributions.MultivariateNormal(torch.zeros(3), root @ root.T + sigma**2 * torch.eye(3))
    given = y.clone().requires_grad_()
    score = torch.autograd.grad(noisy.log_prob(given).sum(), given)[0]
    with torch.no_grad():
        found = (model.reconstruct(y) - y) / sigma**2
    assert float((found - score).square().mean() / score.square().mean()) ** 0.5 < 0.03


def test_context_reaches_both_halves_and_a_saved_model_is_equal() -> None:
    config = AutoencoderConfig(2, (8,), context_features=3)
    torch.manual_seed(0)
    model, copy = Autoencoder(4, config).eval(), Autoencoder(4, config).eval()
    x, context = torch.randn(5, 4), torch.randn(5, 3)
    code = model.encode(x, context)
    assert not torch.equal(code, model.encode(x, -context))
    assert not torch.equal(model.decode(code, context), model.decode(code, -context))
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.reconstruct(x, context), model.reconstruct(x, context))
    assert model.double().reconstruct(x.double(), context.double()).dtype == torch.float64
    with pytest.raises(NotImplementedError, match="Autoencoder has no elbo; it has reconstruct"):
        model(context).elbo(x)
