"""A training as people write it with Keras."""

import sys

import keras
import numpy as np

random = np.random.default_rng(0)
x = random.random((6400, 784), dtype=np.float32)
y = random.integers(0, 10, 6400)
model = keras.Sequential(
    [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10, activation="softmax")]
)
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(x, y, batch_size=64, epochs=int(sys.argv[1]), verbose=0, validation_split=0.1)
