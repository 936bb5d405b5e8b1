"""A model of one's own in PyTorch: ResNet-18 for small images (He et al., 2016, section 4.2)."""

from typing import TYPE_CHECKING

from hpcbench.models import MODELS, ModelSpec

if TYPE_CHECKING:
    from torch import nn


def build(input_shape: tuple[int, ...], outputs: int) -> "nn.Module":
    """``input_shape`` is (height, width, channels); images come channels first, in [0, 1]."""
    from torch import Tensor, nn

    def convolution(inputs: int, filters: int, size: int, stride: int) -> nn.Sequential:
        layer = nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(filters))

    class Block(nn.Module):
        def __init__(self, inputs: int, filters: int, stride: int) -> None:
            super().__init__()
            first = convolution(inputs, filters, 3, stride)
            self.body = nn.Sequential(first, nn.ReLU(), convolution(filters, filters, 3, 1))
            same = inputs == filters and stride == 1
            self.around = nn.Identity() if same else convolution(inputs, filters, 1, stride)

        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.relu(self.body(images) + self.around(images))

    channels = 64
    layers: list[nn.Module] = [convolution(input_shape[2], channels, 3, 1), nn.ReLU()]
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, filters, stride), Block(filters, filters, 1)]
        channels = filters
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)
    )


MODELS.add(
    "resnet18",
    ModelSpec(
        name="resnet18",
        builders={"torch": build},
        datasets=("cifar10",),
        optimizer="sgd",
        learning_rate=0.05,
        momentum=0.9,
        batch=256,
        epochs=3,
        parameters=11_173_962,
        trainable_parameters=11_173_962,
    ),
)
