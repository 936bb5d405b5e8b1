"""The networks of keras.applications: Inception v3, EfficientNet-B0, any other as ``keras:NAME``.

Inception v3: Szegedy et al., CVPR 2016, without the auxiliary classifier. EfficientNet-B0: Tan and
Le, ICML 2019, with its dropout and without AutoAugment. Keras builds them, with weights drawn anew;
pixels are scaled as each was published with.
"""

from functools import cache, partial
from typing import TYPE_CHECKING

from hpcbench.errors import unknown_name
from hpcbench.models import MODELS, BuildContext, ModelSpec
from hpcbench.references import OF_KERAS

if TYPE_CHECKING:
    import keras

# Each network of keras.applications and the pixels a side that its published weights are for.
SIDES = {
    **dict.fromkeys(("ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase"), 224),
    **dict.fromkeys(("ConvNeXtLarge", "ConvNeXtXLarge"), 224),
    **dict.fromkeys(("DenseNet121", "DenseNet169", "DenseNet201"), 224),
    **{f"EfficientNetB{n}": s for n, s in enumerate((224, 240, 260, 300, 380, 456, 528, 600))},
    **{f"EfficientNetV2B{n}": s for n, s in enumerate((224, 240, 260, 300))},
    **{"EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480},
    **{"InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299},
    **dict.fromkeys(("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large"), 224),
    **{"NASNetMobile": 224, "NASNetLarge": 331},
    **dict.fromkeys(("ResNet50", "ResNet101", "ResNet152"), 224),
    **dict.fromkeys(("ResNet50V2", "ResNet101V2", "ResNet152V2"), 224),
    **{"VGG16": 224, "VGG19": 224},
}
# These scale pixels of 0 to 255 by themselves; the others take -1 to 1.
SCALE_THEMSELVES = ("ConvNeXt", "EfficientNet", "MobileNetV3")


def keras_network(name: str, context: BuildContext) -> "keras.Model":
    """The network ``name`` of keras.applications, on any of Keras' backends."""
    import keras

    layers = keras.layers
    image = keras.Input(context.input_shape)
    own = name.startswith(SCALE_THEMSELVES)
    scaled = (layers.Rescaling(255.0) if own else layers.Rescaling(2.0, offset=-1.0))(image)
    network = getattr(keras.applications, name)(
        weights=None, input_tensor=scaled, classes=context.outputs, classifier_activation=None
    )
    logits = layers.Activation("linear", dtype=context.logits_dtype)(network.output)
    model = keras.Model(image, logits)
    generators = [variable for variable in model.variables if variable.dtype == "uint32"]
    for number, variable in enumerate(generators):
        # Dropout's: Keras drew the same seeds on all ranks.
        variable.assign([(context.seed + number) % 2**32, 0])
    return model


@cache
def of_keras(name: str) -> ModelSpec:
    """The model ``keras:NAME``; ConfigError where keras.applications has none of that name."""
    if name not in SIDES:
        raise unknown_name("network of keras.applications", name, list(SIDES))
    return _spec(f"{OF_KERAS}{name}", name, 64, None)


def _spec(name: str, network: str, batch: int, parameters: tuple[int, int] | None) -> ModelSpec:
    return ModelSpec(
        name=name,
        build=partial(keras_network, network),
        # Not those of the papers, which have optimizers of their own.
        optimizer="adam",
        learning_rate=0.001,
        batch=batch,
        epochs=90,
        parameters=parameters[0] if parameters else None,
        trainable_parameters=parameters[1] if parameters else None,
        datasets=("imagenet",),
        image_size=SIDES[network],
    )


MODELS.add_family(OF_KERAS, of_keras)
for known in (
    _spec("inception-v3", "InceptionV3", 128, (23_851_784, 23_817_352)),
    _spec("efficientnet-b0", "EfficientNetB0", 128, (5_330_571, 5_288_548)),
):
    MODELS.add(known.name, known)
