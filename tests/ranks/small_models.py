"""The large networks with few channels and layers, which CPUs train in seconds."""

from dataclasses import replace
from functools import partial

from hpcbench.datasets import DATASETS, DatasetSpec
from hpcbench.datasets.masking import MASK
from hpcbench.models import (
    MASKED_TOKENS,
    MODELS,
    OF_TOKENS,
    ModelSpec,
    alexnet,
    bert,
    climate,
    gpt,
    resnet,
    unet,
    vgg,
    vision_transformer,
)

RESNET = resnet.ResNetSizes(8, ((4, 1), (8, 2)))
VGG = vgg.VggSizes(((8, 1), (16, 2)), 32)
VIT = vision_transformer.VitSizes(8, 2, 24, 48, 3)
UNET = unet.UnetSizes(4, 2)
CLIMATE = climate.ClimateSizes(8, ((4, 1), (4, 2), (4, 1), (4, 1)), 8, 8, (1, 2, 3))
GPT = gpt.GptSizes(2, 24, 3)
# Of which samples have 16.
BERT = bert.BertSizes(2, 24, 48, 3, 20)

# On 67 pixels a side, the least that its strides and pools leave a pixel of.
ALEXNET = alexnet.AlexNetSizes((8, 16, 24, 24, 16), 64, first_size=11, first_stride=4, pool=3)

# Of each model the file and what its builders are given first.
SIZES = {
    "alexnet": (alexnet, ALEXNET, frozenset({2, 5})),
    "alexnet-grouped": (alexnet, ALEXNET, frozenset({2, 4, 5})),
    "resnet-50": (resnet, RESNET),
    "vgg-16": (vgg, VGG),
    "vit-b16": (vision_transformer, VIT),
    "unet": (unet, UNET),
    "climate": (climate, CLIMATE),
    "gpt-124m": (gpt, GPT),
    "bert-base": (bert, BERT),
}
# The least that strides and pools leave a pixel of.
SIDES = {"alexnet": 67, "inception": 75}


def family(model: ModelSpec) -> str:
    """Of models that are trained alike."""
    return model.kind if model.kind == "fields" else model.name.partition("-")[0]


def small_data(model: ModelSpec) -> DatasetSpec:
    """The shape of samples that are small enough for the model at its small size."""
    spec = DATASETS[model.datasets[-1]]
    if spec.name == "imagenet":
        side = SIDES.get(family(model), 32)
        return replace(spec, input_shape=(side, side, 3), outputs=10)
    if model.kind in OF_TOKENS:
        words = MASK + 1 if model.kind == MASKED_TOKENS else 32
        return replace(spec, input_shape=(16,), words=words, outputs=words)
    return spec.resized(spec, 32) if model.kind == "fields" else spec


def small(name: str) -> ModelSpec:
    """The model ``name`` at its small size; itself where it has none."""
    if name not in SIZES:
        return MODELS[name]
    module, *sizes = SIZES[name]
    spec = MODELS[name]
    builders = {}
    if "torch" in spec.builders:
        builders["torch"] = partial(module.torch_network, *sizes)
    build = partial(module.keras_network, *sizes)
    return replace(spec, name=f"small-{name}", build=build, builders=builders)


def add_small() -> None:
    """Register them, each by its own name."""
    for name in SIZES:
        MODELS.add(f"small-{name}", small(name))
