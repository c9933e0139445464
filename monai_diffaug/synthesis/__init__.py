"""The method, in data-flow order: torch, numpy and scipy.ndimage only; no MONAI, no files, no global state.

``image, label, seed``
    -> ``images``        what images a bundle takes; values are never guessed
    -> ``requests``      what a caller asks for, checked once (``targets``: drawn from a model's misses)
    -> ``regions``       where an abnormality may lie (``rules``: border, glare, lumen, overlays)
    -> ``masks``         shape, size (``sizes``) and place (``places``: near a wanted one; ``class_masks``)
    -> ``prompts``       text that fits the drawn mask (``attributes``: the words, measured)
    -> ``window``        the box around the mask (``resample``: to the network grid and back)
    -> ``planner``       the stages above, drawn from one seed
    -> ``inpainter``     encode, inpaint, decode (``latent_diffusion`` on ``diffusion``: the real one)
    -> ``validator``     latent to predicted mask
    -> ``gate``          intended and predicted mask to verdict (``calibration``, ``near_copies``;
                         ``open_gate``: everything passes, for experiments)
    -> ``blend``         composite; outside the paint mask not one bit changes
    -> ``renderer``      the four stages above on ``sites``, deterministic, at a fixed batch shape
                         (``tries``: what fills a batch; ``streams``: many samples)
    -> ``labels``        merge into the label map
    -> ``provenance``    the record
    -> ``synthesizer``   all of it: one sample from one seed

``image, label, seed``
    -> ``removal``       the image without its lesions (``erasing``: begun from beside them), judged by ``normal_gate``

``seed`` -> ``scenes``   a normal image from noise, through overlapping windows (``tiles``, ``lesion_scan``)
"""

from __future__ import annotations

from monai_diffaug.synthesis.calibration import Calibration
from monai_diffaug.synthesis.class_masks import MasksByClass, ObservedShape
from monai_diffaug.synthesis.gate import QualityGate, Verdict
from monai_diffaug.synthesis.images import ImageFormat
from monai_diffaug.synthesis.inpainter import Canvas, Inpainter, TextureInpainter
from monai_diffaug.synthesis.latent_diffusion import LatentDiffusionInpainter
from monai_diffaug.synthesis.masks import (
    AimedSampler,
    FormulaShapes,
    MaskSampler,
    NoRoomError,
    OutlineBank,
    RandomMask,
)
from monai_diffaug.synthesis.near_copies import NearCopies
from monai_diffaug.synthesis.normal_gate import NormalGate
from monai_diffaug.synthesis.open_gate import OpenGate
from monai_diffaug.synthesis.planner import LesionPlan, Planner
from monai_diffaug.synthesis.prompts import Abnormality, PromptBank
from monai_diffaug.synthesis.provenance import AbnormalityRecord, Attempt, SynthesisRecord
from monai_diffaug.synthesis.regions import Regions
from monai_diffaug.synthesis.removal import LesionRemover, RemovalResult
from monai_diffaug.synthesis.renderer import Renderer
from monai_diffaug.synthesis.requests import SynthesisRequest
from monai_diffaug.synthesis.rules import Background, BlackBorder, Glare, Lumen, Overlay
from monai_diffaug.synthesis.scenes import SceneMaker, Stage
from monai_diffaug.synthesis.sizes import EmpiricalRelativeSize, EmpiricalSize, PhysicalSize, RelativeSize
from monai_diffaug.synthesis.synthesizer import AbnormalitySynthesizer, SynthesisResult
from monai_diffaug.synthesis.targets import LesionOutcome, MissTargets, Target
from monai_diffaug.synthesis.validator import ChangeValidator, LatentValidator, NetworkValidator
from monai_diffaug.synthesis.window import Window, WindowSampler

__all__ = [
    "ImageFormat",
    "SynthesisRequest",
    "Target",
    "MissTargets",
    "LesionOutcome",
    "Regions",
    "BlackBorder",
    "Glare",
    "Lumen",
    "Overlay",
    "Background",
    "MaskSampler",
    "AimedSampler",
    "RandomMask",
    "MasksByClass",
    "ObservedShape",
    "FormulaShapes",
    "OutlineBank",
    "RelativeSize",
    "PhysicalSize",
    "EmpiricalRelativeSize",
    "EmpiricalSize",
    "NoRoomError",
    "Abnormality",
    "PromptBank",
    "Window",
    "WindowSampler",
    "LesionPlan",
    "Planner",
    "Inpainter",
    "Canvas",
    "TextureInpainter",
    "LatentDiffusionInpainter",
    "LatentValidator",
    "ChangeValidator",
    "NetworkValidator",
    "QualityGate",
    "Calibration",
    "NearCopies",
    "Verdict",
    "NormalGate",
    "OpenGate",
    "Renderer",
    "LesionRemover",
    "RemovalResult",
    "SceneMaker",
    "Stage",
    "AbnormalitySynthesizer",
    "SynthesisResult",
    "SynthesisRecord",
    "AbnormalityRecord",
    "Attempt",
]
