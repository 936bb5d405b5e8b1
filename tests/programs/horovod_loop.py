"""A training as people write it, in TensorFlow with Horovod: the step is a graph. With ``apart`` it
is as they write it wrongly."""

import sys

import horovod.tensorflow as hvd
import tensorflow as tf

hvd.init()
tf.config.threading.set_intra_op_parallelism_threads(1)
x = tf.random.uniform((6400, 784))
y = tf.random.uniform((6400,), maxval=10, dtype=tf.int32)
data = tf.data.Dataset.from_tensor_slices((x, y)).shard(hvd.size(), hvd.rank())
data = data.shuffle(6400).repeat().batch(64)
model = tf.keras.Sequential(
    [tf.keras.layers.Dense(64, activation="relu"), tf.keras.layers.Dense(10)]
)
loss_of = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = tf.keras.optimizers.SGD(0.01)


@tf.function
def step(inputs, targets):
    with tf.GradientTape() as tape:
        loss = loss_of(targets, model(inputs, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    if "apart" not in sys.argv:
        gradients = hvd.grouped_allreduce(gradients)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return loss


for inputs, targets in data.take(1500):
    loss = step(inputs, targets)
print("loss", float(loss))
