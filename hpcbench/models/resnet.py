"""ResNet-50 v1.5, in Keras and in PyTorch: He et al., CVPR 2016, as NVIDIA and MLPerf train it.

Version 1.5 halves the resolution in a block's 3 x 3 convolution, the paper in the 1 x 1 before it
(NVIDIA's DeepLearningExamples, ConvNets/resnet50v1.5; MLPerf Training, image classification). As
there, weights start as He et al. draw them by fan out, and the last normalization of a block starts
at zero (Goyal et al., 2017, section 5.1). Not as there: no weight decay, no label smoothing, one
mean and deviation for all colours.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hpcbench.models import MODELS, BuildContext, ModelSpec

if TYPE_CHECKING:
    import keras
    import torch

# Of ImageNet's training pixels, over its three colours.
MEAN, DEVIATION = 0.449, 0.226
# Outputs of a bottleneck block are so many times its inner channels (section 4.1).
EXPANSION = 4
# Of batch normalization: how much of the moving statistics a step keeps.
MOMENTUM, EPSILON = 0.9, 1e-5


@dataclass(frozen=True)
class ResNetSizes:
    """Channels of the stem; inner channels and blocks of each stage, all but the first of which
    halve the resolution."""

    stem: int
    stages: tuple[tuple[int, int], ...]

    def blocks(self) -> list[tuple[str, int, int, int]]:
        """Of each block: its name, how many channels come in, its inner ones, and its stride."""
        found, inputs = [], self.stem
        for stage, (channels, blocks) in enumerate(self.stages, 1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                found.append((f"block{stage}_{block}", inputs, channels, stride))
                inputs = EXPANSION * channels
        return found


RESNET_50 = ResNetSizes(64, ((64, 3), (128, 4), (256, 6), (512, 3)))


def keras_network(sizes: ResNetSizes, context: BuildContext) -> "keras.Model":
    """The network on Keras, for any of its backends."""
    from keras import Input, Model, initializers, layers

    drawn = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")

    def convolved(
        values: Any, name: str, number: int, channels: int, size: int, stride: int = 1, **norm: Any
    ) -> Any:
        """A convolution without bias, and its normalization. Padded alike on all sides, as in
        PyTorch; Keras' own padding is uneven where it strides."""
        if size > 1:
            values = layers.ZeroPadding2D(size // 2)(values)
        options = {"use_bias": False, "kernel_initializer": drawn, "name": f"{name}_conv{number}"}
        values = layers.Conv2D(channels, size, stride, **options)(values)
        return context.batch_normalization(
            momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_norm{number}", **norm
        )(values)

    image = Input(context.input_shape)
    values = layers.Rescaling(1 / DEVIATION, offset=-MEAN / DEVIATION)(image)
    values = layers.ReLU()(convolved(values, "stem", 1, sizes.stem, 7, 2))
    # What comes is not negative: zeros around it are never the largest.
    values = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(values))
    for name, inputs, channels, stride in sizes.blocks():
        outputs = EXPANSION * channels
        inner = layers.ReLU()(convolved(values, name, 1, channels, 1))
        inner = layers.ReLU()(convolved(inner, name, 2, channels, 3, stride))
        inner = convolved(inner, name, 3, outputs, 1, gamma_initializer="zeros")
        if inputs != outputs or stride > 1:
            values = convolved(values, name, 0, outputs, 1, stride)
        values = layers.ReLU()(layers.Add()([inner, values]))
    values = layers.GlobalAveragePooling2D()(values)
    logits = layers.Dense(
        context.outputs,
        kernel_initializer=initializers.RandomNormal(0.0, 0.01),
        dtype=context.logits_dtype,
        name="logits",
    )(values)
    return Model(image, logits)


def torch_network(
    sizes: ResNetSizes, input_shape: tuple[int, ...], outputs: int
) -> "torch.nn.Module":
    """The same function in PyTorch, its layers named as those in Keras."""
    from torch import Tensor, nn

    def convolution(inputs: int, channels: int, size: int, stride: int = 1) -> nn.Conv2d:
        layer = nn.Conv2d(inputs, channels, size, stride, size // 2, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        return layer

    def normalization(channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, EPSILON, 1 - MOMENTUM)

    class Block(nn.Module):
        def __init__(self, inputs: int, channels: int, stride: int) -> None:
            super().__init__()
            last = EXPANSION * channels
            self.conv1, self.norm1 = convolution(inputs, channels, 1), normalization(channels)
            self.conv2 = convolution(channels, channels, 3, stride)
            self.norm2 = normalization(channels)
            self.conv3, self.norm3 = convolution(channels, last, 1), normalization(last)
            nn.init.zeros_(self.norm3.weight)
            self.projects = inputs != last or stride > 1
            if self.projects:
                self.conv0, self.norm0 = convolution(inputs, last, 1, stride), normalization(last)

        def forward(self, values: Tensor) -> Tensor:
            inner = self.norm1(self.conv1(values)).relu_()
            inner = self.norm2(self.conv2(inner)).relu_()
            inner = self.norm3(self.conv3(inner))
            around = self.norm0(self.conv0(values)) if self.projects else values
            return inner.add_(around).relu_()

    class ResNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem_conv1 = convolution(input_shape[2], sizes.stem, 7, 2)
            self.stem_norm1 = normalization(sizes.stem)
            self.pool = nn.MaxPool2d(3, 2, 1)
            self.blocks = nn.ModuleDict(
                {name: Block(*block_sizes) for name, *block_sizes in sizes.blocks()}
            )
            self.logits = nn.Linear(EXPANSION * sizes.stages[-1][0], outputs)
            nn.init.normal_(self.logits.weight, 0.0, 0.01)
            nn.init.zeros_(self.logits.bias)

        def forward(self, images: Tensor) -> Tensor:
            values = (images - MEAN) / DEVIATION
            values = self.pool(self.stem_norm1(self.stem_conv1(values)).relu_())
            for block in self.blocks.values():
                values = block(values)
            return self.logits(values.mean((2, 3)))

    return ResNet()


MODELS.add(
    "resnet-50",
    ModelSpec(
        name="resnet-50",
        build=partial(keras_network, RESNET_50),
        builders={"torch": partial(torch_network, RESNET_50)},
        optimizer="sgd",
        # Of NVIDIA's and Goyal et al.'s recipes: 0.1 for 256 samples a step.
        learning_rate=0.1,
        momentum=0.875,
        batch=256,
        epochs=90,
        # With the moving statistics of its normalizations, which PyTorch's count has not.
        parameters=25_610_152,
        trainable_parameters=25_557_032,
        datasets=("imagenet",),
        image_size=224,
    ),
)
