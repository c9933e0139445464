"""Objectives of the trainings; each owns its corruption and takes the network as an argument.

That of distillation, which has a teacher, is in ``engines.distillation``.

Called as ``loss(network, batch, generator)`` with a pass of ``networks.passes``, they return named scalars; ``loss``
is the one to descend, the others are for people to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn

from monai_diffaug.synthesis.diffusion import add_noise, draw_levels


class AutoencoderLoss(nn.Module):
    """L1, gradient, KL, perceptual and patch-adversarial terms of the autoencoder.

    Args:
        gradient: weight of the mean absolute error of neighbour differences, against blur.
        colour: weight of the mean absolute error of what channels differ by: colour varies less than light, and would
            be learnt last.
        kl: weight of the divergence from the standard normal.
        features: image -> list of feature maps, or None for no perceptual term.
        feature_weight: weight of the squared distance of features.
        adversary: the patch discriminator's part, or None.

    Example:
        >>> from monai_diffaug.networks.passes import AutoencoderPass
        >>> class Identity(nn.Module):
        ...     def encode(self, image): return image, torch.ones_like(image)
        ...     def decode(self, latent): return latent
        >>> network = AutoencoderPass(Identity()).eval()
        >>> losses = AutoencoderLoss()(network, {"image": torch.zeros(1, 1, 8, 8)}, torch.Generator())
        >>> float(losses["l1"])
        0.0
    """

    def __init__(
        self,
        *,
        gradient: float = 0.5,
        colour: float = 1.0,
        kl: float = 1e-4,
        features: nn.Module | None = None,
        feature_weight: float = 0.05,
        adversary: Adversary | None = None,
    ) -> None:
        super().__init__()
        self.gradient, self.colour, self.kl, self.feature_weight = gradient, colour, kl, feature_weight
        self.features = features
        self.adversary = adversary

    def forward(self, network: nn.Module, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``loss`` and its parts for ``batch["image"]`` (N, C, *size) in [-1, 1].

        In training a draw from the posterior is decoded, in evaluation its mean.
        """
        image = batch["image"]
        made, mean, deviation = (each.float() for each in network(image, generator if network.training else None))
        error = made - image
        parts = {
            "l1": error.abs().mean(),
            "gradient": sum((error.diff(dim=axis).abs().mean() for axis in range(2, error.ndim)), image.new_zeros(())),
            "colour": (error - error.mean(dim=1, keepdim=True)).abs().mean(),
            "kl": 0.5 * (mean**2 + deviation**2 - 2 * deviation.clamp_min(1e-6).log() - 1).mean(),
        }
        total = parts["l1"] + self.gradient * parts["gradient"] + self.colour * parts["colour"] + self.kl * parts["kl"]
        if self.features is not None:
            pairs = zip(self.features(made), self.features(image), strict=True)
            parts["features"] = sum(((a - b).square().sum(1).mean() for a, b in pairs), image.new_zeros(()))
            total = total + self.feature_weight * parts["features"]
        if self.adversary is not None and network.training:
            parts["adversarial"] = self.adversary(made, image)
            total = total + parts["adversarial"]
        psnr = 10 * torch.log10(4 / error.square().flatten(1).mean(1).clamp_min(1e-10)).mean()
        return {"loss": total, **parts, "psnr": psnr}


class InpaintingLoss(nn.Module):
    """Velocity error of rectified flow, inside the paint mask and, weighted, outside of it (method 6).

    L = ||M (v - v_hat)||^2 / |M| + lambda ||(1 - M) (v - v_hat)||^2 / |1 - M|, v = noise - latent.

    Args:
        preserve: lambda.
        text_dropout: share of the samples that see the null context.
        least_cells: |M| and |1 - M| are never taken smaller than this.
    """

    def __init__(self, *, preserve: float = 0.5, text_dropout: float = 0.1, least_cells: int = 16) -> None:
        super().__init__()
        self.preserve, self.text_dropout, self.least_cells = preserve, text_dropout, least_cells

    def forward(self, network: nn.Module, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``loss`` with its parts ``inside`` and ``outside``.

        Args:
            network: ``network(x, timesteps, prompts, scale)``, as ``DenoiserPass``.
            batch: ``latent`` and ``blanked`` (N, c, *latent), ``area`` and ``hold`` (N, 1, *latent), ``scale`` (N,),
                ``prompts``, N texts.
            generator: of levels, noise and dropout, on the CPU.
        """
        latent = batch["latent"]
        level = draw_levels(len(latent), generator).to(latent.device)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        dropped = (torch.rand(len(latent), generator=generator) < self.text_dropout).tolist()
        prompts = ["" if drop else text for text, drop in zip(batch["prompts"], dropped, strict=True)]
        x = torch.cat([add_noise(latent, noise, level), batch["area"], batch["blanked"]], dim=1)
        predicted = network(x, level * 1000, prompts, batch["scale"]).float()
        return self.weighted(noise - latent - predicted, batch["hold"])

    def weighted(self, error: Tensor, hold: Tensor) -> dict[str, Tensor]:
        """Return ``loss`` and its parts for an error (N, c, *latent) and M (N, 1, *latent)."""
        squared = error.square().mean(dim=1, keepdim=True)
        inside, outside = self._mean(squared, hold), self._mean(squared, 1 - hold)
        return {"loss": inside + self.preserve * outside, "inside": inside, "outside": outside}

    def _mean(self, error: Tensor, where: Tensor) -> Tensor:
        cells = where.flatten(1).sum(1).clamp_min(self.least_cells)
        return ((error * where).flatten(1).sum(1) / cells).mean()


class ValidatorLoss(nn.Module):
    """Dice and cross-entropy of the latent segmentation network, on latents as a sampler sees them (method 9).

    Clean latents as they are; the others noised to a level up to ``noisiest`` and brought back by one step of the
    denoiser (Eq. 11), which is how unfinished samples look to the gate.

    Args:
        cross_entropy: weight beside Dice.
        noisiest: highest level.
        noised: share of the samples that are noised.
        estimate: ``estimate(z_t, level, batch) -> z_0``, or None to take the noised latent as it is.
    """

    def __init__(
        self,
        *,
        cross_entropy: float = 0.5,
        noisiest: float = 0.5,
        noised: float = 0.5,
        estimate: Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.cross_entropy, self.noisiest, self.noised, self.estimate = cross_entropy, noisiest, noised, estimate

    def forward(self, network: nn.Module, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``loss`` with ``dice``, ``cross_entropy``, ``iou`` and ``false_alarms``.

        Args:
            network: latent -> logits (N, K, *size), as ``ValidatorPass``.
            batch: ``latent`` (N, c, *latent) and ``target`` (N, K, *size), 0 or 1, of each class.
            generator: of levels and noise, on the CPU.
        """
        target = batch["target"].float()
        logits = network(self._corrupted(batch, generator) if network.training else batch["latent"]).float()
        entropy = F.binary_cross_entropy_with_logits(logits, target)
        probability = logits.sigmoid().flatten(1)
        truth = target.flatten(1)
        # One pixel of grace: an empty target is met by an empty prediction.
        dice = 1 - (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
        return {
            "loss": dice.mean() + self.cross_entropy * entropy,
            "dice": dice.mean(),
            "cross_entropy": entropy,
            **_scores(probability > 0.5, truth > 0.5),
        }

    def _corrupted(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        latent = batch["latent"]
        level = (self.noisiest * torch.rand(len(latent), generator=generator)).to(latent.device)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        noised = add_noise(latent, noise, level)
        if self.estimate is not None:
            noised = self.estimate(noised, level, batch)
        chosen = (torch.rand(len(latent), generator=generator) < self.noised).to(latent.device)
        return torch.where(chosen.reshape(-1, *(1,) * (latent.ndim - 1)), noised, latent)


def _scores(found: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Return the mean overlap where there is a lesion, and the share of empty windows with anything found."""
    iou = (found & truth).sum(1) / (found | truth).sum(1).clamp_min(1)
    empty = ~truth.any(1)
    nothing = iou.new_zeros(())
    return {
        "iou": iou[~empty].mean() if (~empty).any() else nothing,
        "false_alarms": found[empty].any(1).float().mean() if empty.any() else nothing,
    }


class Adversary(nn.Module):
    """A patch discriminator that learns beside the autoencoder (least squares), and the term that deceives it.

    It updates itself once a call, before it is asked for the term; its optimizer is part of its state.

    Args:
        discriminator: image -> list of maps, the last one is the verdict, as MONAI's PatchDiscriminator.
        weight: weight of the term in the autoencoder's loss.
        after: calls before which neither side is trained.
        learning_rate: of the discriminator's AdamW.
    """

    calls: Tensor

    def __init__(
        self, discriminator: nn.Module, *, weight: float = 0.02, after: int = 0, learning_rate: float = 2e-4
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.weight, self.after = weight, after
        self.optimizer = torch.optim.AdamW(discriminator.parameters(), learning_rate, betas=(0.5, 0.9))
        self.criterion = PatchAdversarialLoss(criterion="least_squares")
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the weighted term for reconstructions (N, C, *size), 0 until its time has come."""
        self.calls += 1
        if int(self.calls) <= self.after:
            return made.new_zeros(())
        self._learn(made.detach(), real)
        self.discriminator.requires_grad_(False)
        term = self.criterion(self.discriminator(made)[-1].float(), target_is_real=True, for_discriminator=False)
        self.discriminator.requires_grad_(True)
        return self.weight * term

    def _learn(self, made: Tensor, real: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        verdicts = self.discriminator(torch.cat([made.to(real.dtype), real]))[-1].float()
        fake, true = verdicts.chunk(2)
        wrong = self.criterion(fake, target_is_real=False, for_discriminator=True)
        missed = self.criterion(true, target_is_real=True, for_discriminator=True)
        (0.5 * (wrong + missed)).backward()
        _share_gradients(self.discriminator)
        self.optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


def _share_gradients(network: nn.Module) -> None:
    """Average the gradients over all processes: the discriminator is nobody's to wrap, and must stay one."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    for weight in network.parameters():
        if weight.grad is not None:
            torch.distributed.all_reduce(weight.grad)
            weight.grad /= torch.distributed.get_world_size()
