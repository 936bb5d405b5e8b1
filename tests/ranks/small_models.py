"""The reference networks with few channels and layers, which CPUs train in seconds."""

from dataclasses import replace
from functools import partial

from hpcbench.models import MODELS, ModelSpec, resnet, unet, vgg, vision_transformer

RESNET = resnet.ResNetSizes(8, ((4, 1), (8, 2)))
VGG = vgg.VggSizes(((8, 1), (16, 2)), 32)
VIT = vision_transformer.VitSizes(8, 2, 24, 48, 3)
UNET = unet.UnetSizes(4, 2)

SIZES = {
    "resnet-50": (resnet, RESNET),
    "vgg-16": (vgg, VGG),
    "vit-b16": (vision_transformer, VIT),
    "unet": (unet, UNET),
}


def small(name: str) -> ModelSpec:
    """The model ``name`` at its small size; itself where it has none."""
    if name not in SIZES:
        return MODELS[name]
    module, sizes = SIZES[name]
    spec = MODELS[name]
    builders = {}
    if "torch" in spec.builders:
        builders["torch"] = partial(module.torch_network, sizes)
    build = partial(module.keras_network, sizes)
    return replace(spec, name=f"small-{name}", build=build, builders=builders)


def add_small() -> None:
    """Register them, each by its own name."""
    for name in SIZES:
        MODELS.add(f"small-{name}", small(name))
