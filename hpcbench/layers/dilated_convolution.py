"""A dilated convolution by TensorFlow's own kernel, where that has gradients."""

from typing import Any

import keras


def one_dnn_is_on() -> bool:
    """Whether TensorFlow computes with oneDNN's kernels, by its own word.

    By default it does so only on processors with certain instructions (AVX512-VNNI and the like).
    """
    from tensorflow.python.util import _pywrap_util_port

    return bool(_pywrap_util_port.IsMklEnabled())


@keras.saving.register_keras_serializable("hpcbench")
class DilatedConv2D(keras.layers.Conv2D):
    """Keras' convolution of stride 1, dilated by TensorFlow's own kernel.

    Under TensorFlow, Keras pads and rearranges to batches what a dilated kernel sees, which takes
    hundreds of times as long where the dilation is larger than the image. On CPUs only oneDNN has
    the gradients, for two types.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        if keras.backend.backend() != "tensorflow":
            return super().convolution_op(inputs, kernel)
        import tensorflow as tf

        known = self.compute_dtype in ("float32", "bfloat16") and one_dnn_is_on()
        if not known and not tf.config.get_visible_devices("GPU"):
            return super().convolution_op(inputs, kernel)
        padding, dilations = self.padding.upper(), self.dilation_rate
        return tf.nn.conv2d(inputs, tf.convert_to_tensor(kernel), 1, padding, dilations=dilations)
