"""A training as people write it, in TensorFlow on several devices of one process: a loop of one's
own under a strategy."""

import os

import tensorflow as tf

DEVICES, BATCH = int(os.environ["HPCBENCH_DEVICES"]), 32
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)
strategy = tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(DEVICES)])
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.Input((64,)), tf.keras.layers.Dense(10)])
    optimizer = tf.keras.optimizers.SGD(0.01)
data = tf.data.Dataset.from_tensors((tf.random.normal((64,)), 1)).repeat()
data = strategy.experimental_distribute_dataset(data.batch(BATCH * DEVICES).take(1500))


@tf.function
def step(batch):
    def of_device(x, y):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=True))
            loss = tf.nn.compute_average_loss(losses, global_batch_size=BATCH * DEVICES)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    strategy.run(of_device, args=batch)


for batch in data:
    step(batch)
