"""Random weights of torch networks that tell photographs apart. For `scripts/exporters`."""

import torch
from exporters_common import softmax
from numpy import ndarray
from torch import Tensor, nn


def settle(network: nn.Module, inputs: Tensor, spread: float = 2.0, gain: float = 1) -> nn.Module:
    """Gives random weights norms and a classifier that fit the photographs, so that the answers differ.

    Without batch norms, weights begin so small that their layers hardly matter: `gain` multiplies them.
    """
    torch.manual_seed(1)
    some = inputs[:40]  # enough for means and deviations
    norms = [part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1 and name.endswith("weight"):
                parameter *= gain
            if parameter.ndim == 4 and parameter.shape[-1] > 1:
                # Rather means of their surroundings than edges, and the activations below mostly positive, where they
                # are linear: otherwise some fifty layers would turn a pixel's rounding into another answer.
                parameter.mul_(0.3).add_(torch.randn(*parameter.shape[:2], 1, 1) * parameter.std() * 3)
            if name.endswith(".gamma"):  # of a block of ConvNeXt or InceptionNeXt, which begin at nearly 0
                parameter.uniform_(0.3, 1)
        for norm in norms:
            norm.weight.uniform_(0.5, 1)
            norm.bias.normal_(1, 0.3)
            norm.reset_running_stats()
            norm.momentum = None  # the mean of all batches
            norm.train()
        for batch in some.split(20):
            network(batch)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
        network.eval()
        head = [part for part in network.modules() if isinstance(part, (nn.Linear, nn.Conv2d))][-1]
        seen = []
        hook = head.register_forward_hook(lambda module, given, logits: seen.append(logits.clone()))
        for batch in some.split(20):
            network(batch)
        hook.remove()
        logits = torch.cat(seen)
        logits = logits.view(*logits.shape[:2], -1).mean(2)  # a convolution has maps
        scale = spread / logits.std(0)
        head.weight *= scale.view(-1, *[1] * (head.weight.ndim - 1))
        head.bias.copy_((head.bias - logits.mean(0)) * scale + torch.randn_like(scale) * spread / 4)
    return network.requires_grad_(False)


def probabilities(network: nn.Module, inputs: Tensor) -> ndarray:
    with torch.inference_mode():
        return softmax(torch.cat([network(batch).flatten(1) for batch in inputs.split(25)]).float().numpy())
