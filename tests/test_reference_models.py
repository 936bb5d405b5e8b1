"""The networks that people measure by: as published, and the same in every framework."""

import json
import sys

import numpy as np
import pytest

from hpcbench.config import OutputConfig, RunConfig
from hpcbench.errors import ConfigError
from hpcbench.models import MODELS, OF_TOKENS, BuildContext
from hpcbench.models.keras_applications import SIDES
from hpcbench.runs.resolve import resolve
from support import RANKS, launcher, only_run, run, train

sys.path.insert(0, str(RANKS))

from small_models import small

TORCH = ["resnet-50", "vit-b16", "gpt-124m", "bert-base"]
JAX = ["resnet-50", "vgg-16", "vit-b16", "gpt-124m", "bert-base"]
# Of a sample: its shape, how many numbers come out (of each token), and how many words there are.
IMAGE, TEXT = ((32, 32, 3), 10, 0), ((16,), 32, 32)


def sample_of(name):
    return TEXT if MODELS[name].kind in OF_TOKENS else IMAGE


def context(sample, keras):
    shape, outputs, words = sample
    return BuildContext(shape, outputs, 0, "float32", keras.layers.BatchNormalization, words)


def drawn(name, samples):
    """Made-up inputs for Keras, and the same for PyTorch."""
    import torch

    shape, _, words = sample_of(name)
    generator = np.random.default_rng(0)
    if words:
        tokens = generator.integers(0, words, (samples, *shape)).astype(np.int32)
        return tokens, torch.from_numpy(tokens)
    images = generator.random((samples, *shape), np.float32)
    return images, torch.from_numpy(images).permute(0, 3, 1, 2)


def copied(ours, theirs):
    """The weights of a PyTorch module into the Keras model of the same names."""
    state = {name.replace(".", "_"): value.numpy() for name, value in theirs.state_dict().items()}
    kinds = {
        "kernel": "weight",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
        "embeddings": "weight",
    }
    for variable in ours.weights:
        # "layer0_attention/query/kernel" is layers.0.query.weight there.
        *layers, kind = variable.path.split("/")
        name = "_".join(layers).replace("_attention_output", "_output").replace("_attention", "")
        name = name.replace("layer", "layers_")
        if kind in ("token", "positions"):
            name = ""
        name = f"blocks_{name}" if name.startswith("block") else name
        value = state["_".join(filter(None, [name, kinds.get(kind, kind)]))]
        if kind == "kernel":
            # (out, in, height, width) there and (height, width, in, out) here; or (out, in).
            value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
        variable.assign(value.reshape(variable.shape))


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_both_frameworks_compute_the_same(name):
    """From the same weights: in training, in evaluation, and each gradient's norm."""
    torch, keras = pytest.importorskip("torch"), pytest.importorskip("keras")
    import tensorflow as tf

    spec = small(name)
    torch.manual_seed(0)
    theirs = spec.builders["torch"](*sample_of(name)[:2])
    # As drawn, what the blocks add is nothing.
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    ours = spec.build(context(sample_of(name), keras))
    copied(ours, theirs)
    assert sum(weight.numel() for weight in theirs.parameters()) == sum(
        int(np.prod(weight.shape)) for weight in ours.trainable_weights
    )
    inputs, of_torch = drawn(name, 6)
    for training in (False, True):
        theirs.train(training)
        expected = theirs(of_torch)
        with tf.GradientTape() as tape:
            outputs = ours(inputs, training=training)
            loss = tf.reduce_sum(outputs**2)
        np.testing.assert_allclose(outputs, expected.detach().numpy(), rtol=1e-3, atol=1e-4)
        theirs.zero_grad()
        (expected**2).sum().backward()
        norms = sorted(float(weight.grad.norm()) for weight in theirs.parameters())
        gradients = tape.gradient(loss, ours.trainable_weights)
        found = sorted(float(tf.norm(tf.convert_to_tensor(part))) for part in gradients)
        np.testing.assert_allclose(found, norms, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "parameters", "products", "of_first_layer"),
    [
        # torchvision's figures: parameters, and multiplications of a forward pass at 224 pixels.
        ("resnet-50", 25_557_032, 4.09e9, 112 * 112 * 64 * 147),
        ("vit-b16", 86_567_656, 17.56e9, 196 * 768 * 768),
    ],
)
def test_they_are_as_large_as_published(name, parameters, products, of_first_layer):
    """Backwards takes twice as much, but for the first layer, whose input nobody learns."""
    pytest.importorskip("torch")
    from hpcbench.frameworks.torch.flops import training_flops

    network = MODELS[name].builders["torch"]((224, 224, 3), 1000)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    expected = 2 * (3 * products - of_first_layer)
    assert training_flops(network, (224, 224, 3)) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCH)
def test_a_saved_model_is_the_same_function(tmp_path, name):
    """As Keras loads it; what it does not know by name would silently be something else."""
    keras = pytest.importorskip("keras")
    model = small(name).build(context(sample_of(name), keras))
    model.save(tmp_path / "model.keras")
    inputs, _ = drawn(name, 3)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_gpt_2_is_as_large_as_published():
    """Parameters as OpenAI's smallest, with its output's weights those of its embedding. Operations
    of a token: six for each weight of a product, and 12 times layers, width and length of attention
    (Chowdhery et al., PaLM, 2022, appendix B)."""
    pytest.importorskip("torch")
    from hpcbench.frameworks.torch.flops import training_flops

    network = MODELS["gpt-124m"].builders["torch"]((1024,), 50_257)
    assert sum(weight.numel() for weight in network.parameters()) == 124_439_808
    products = 124_439_808 - 1024 * 768
    expected = 1024 * (6 * products + 12 * 12 * 768 * 1024)
    assert training_flops(network, (1024,)) == pytest.approx(expected, rel=0.01)


def test_bert_base_is_as_large_as_published():
    """109,482,240 parameters of embeddings, encoder and pooler (Devlin et al.: 110 million), as
    Hugging Face's BertModel has them for Google's bert_config.json; 110,106,428 with both heads
    (BertForPreTraining). Without pooler (a layer) and the head of the next sentence (two numbers
    from one token) these are BertForMaskedLM's. Operations as of GPT-2; position's and segment's
    embeddings are in no product."""
    torch = pytest.importorskip("torch")
    from hpcbench.frameworks.torch.flops import training_flops

    width, words, positions = 768, 30_522, 512
    pooler, next_sentence = width * width + width, 2 * width + 2
    # A dense layer, its normalization, and a bias of each word.
    head = width * width + width + 2 * width + words
    assert 109_482_240 + head + next_sentence == 110_106_428
    expected = 110_106_428 - pooler - next_sentence
    for length in (128, positions):
        # Weights without numbers do to count.
        with torch.device("meta"):
            network = MODELS["bert-base"].builders["torch"]((length,), words)
        assert sum(weight.numel() for weight in network.parameters()) == expected
        products = expected - (positions + 2) * width
        flops = length * (6 * products + 12 * 12 * width * length)
        assert training_flops(network, (length,)) == pytest.approx(flops, rel=0.01)
    assert MODELS["bert-base"].parameters == expected == 109_514_298


@pytest.mark.slow
@pytest.mark.parametrize(
    ("framework", "strategy", "devices", "names"),
    [
        ("torch", "single", 1, TORCH),
        ("torch", "ddp", 2, TORCH),
        ("jax", "single", 1, JAX),
        ("jax", "jax-distributed", 2, JAX),
    ],
)
def test_other_frameworks_train_them_too(framework, strategy, devices, names):
    """TensorFlow trains them among all models."""
    pytest.importorskip(framework)
    ranks = launcher(strategy, devices)
    program = [sys.executable, RANKS / "every_model.py", strategy, str(devices), framework]
    done = run([*ranks, *program, *names], timeout=900)
    assert done.status == 0, done.errors
    lines = (line[line.index("{") :] for line in done.output.splitlines() if '{"model"' in line)
    found = {found["model"]: found for found in map(json.loads, lines)}
    assert set(found) == set(names)
    for name, of_model in found.items():
        assert "error" not in of_model, (name, of_model)
        assert of_model["losses"][-1] < of_model["losses"][0], name


COUNTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from hpcbench.frameworks.jax import load
load()
import jax, keras
from small_models import small
from hpcbench.frameworks.jax.flops import training_flops
from hpcbench.models import MODELS, OF_TOKENS, BuildContext
counts = {}
for name in sys.argv[2:]:
    tokens = MODELS[name].kind in OF_TOKENS
    shape, outputs, words = ((16,), 32, 32) if tokens else ((32, 32, 3), 10, 0)
    normalization = keras.layers.BatchNormalization
    context = BuildContext(shape, outputs, 0, "float32", normalization, words)
    model = small(name).build(context)
    others = [variable.value for variable in model.non_trainable_variables]
    weights = [variable.value for variable in model.trainable_variables]
    call = lambda weights, inputs: model.stateless_call(weights, others, inputs, training=True)[0]
    inputs = jax.numpy.zeros((1, *shape), "int32" if words else "float32")
    counts[name] = training_flops(call, weights, inputs)
print(json.dumps(counts))
"""


@pytest.mark.slow
def test_operations_are_counted_alike_in_three_frameworks():
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    import tensorflow as tf

    from hpcbench.frameworks.tensorflow.flops import step_flops
    from hpcbench.frameworks.torch.flops import training_flops
    from test_flops import BATCH, training_graph

    done = run([sys.executable, "-c", COUNTS, RANKS, *TORCH])
    assert done.status == 0, done.errors
    of_jax = json.loads(done.output.splitlines()[-1])
    for name in TORCH:
        spec = small(name)
        shape, outputs, words = sample_of(name)
        expected = training_flops(spec.builders["torch"](shape, outputs), shape)
        assert of_jax[name] == pytest.approx(expected, rel=0.01)
        kind = tf.int32 if words else tf.float32
        graph = training_graph(spec.build(context(sample_of(name), keras)), shape, kind=kind)
        assert step_flops(graph) == pytest.approx(BATCH * expected, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit-b16", "alexnet", "gpt-124m", "bert-base"])
def test_gradients_are_those_of_the_full_size(name):
    """As hpcbench collectives wants them; some weights depend on the size of an image."""
    pytest.importorskip("tensorflow")
    from hpcbench.frameworks.tensorflow.backend import gradient_sizes

    assert sum(gradient_sizes(name)) == MODELS[name].trainable_parameters


def test_any_network_of_keras_is_known():
    import keras

    assert all(callable(getattr(keras.applications, name)) for name in SIDES)
    assert MODELS["keras:Xception"].image_size == 299
    with pytest.raises(ConfigError, match=r"ResNet-50.*did you mean 'ResNet50'\?"):
        MODELS["keras:ResNet-50"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small", "EfficientNetB0"])
def test_pixels_are_scaled_as_a_network_was_published_with(name):
    """Its own layers get what Keras' preprocessing would have made of bytes."""
    import keras

    black_and_white = np.stack([np.zeros((32, 32, 3)), np.ones((32, 32, 3))]).astype("float32")
    ours = MODELS[f"keras:{name}"].build(context(IMAGE, keras))
    theirs = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None
    )
    theirs.set_weights([weight for weight in ours.get_weights() if weight.dtype != np.uint32])
    package = "mobilenet_v3" if name == "MobileNetV3Small" else name.lower().rstrip("b0")
    package = "efficientnet" if name == "EfficientNetB0" else package
    prepared = getattr(keras.applications, package).preprocess_input(black_and_white * 255)
    np.testing.assert_allclose(
        ours(black_and_white, training=False), theirs(prepared, training=False), atol=1e-5
    )


def resolved(monkeypatch, tmp_path, *data_dir, **settings):
    for name in ("HPCBENCH_DATA", "KERAS_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    output = OutputConfig(data_dir=data_dir[0] if data_dir else None, results=tmp_path)
    return resolve(RunConfig(model="resnet-50", batch=8, **settings), output, {})


def test_without_the_data_samples_are_made_up_at_full_size(monkeypatch, tmp_path, capsys):
    found = resolved(monkeypatch, tmp_path)
    assert (found.config.input, found.config.dataset) == ("synthetic", "imagenet")
    assert found.source.spec.input_shape == (224, 224, 3)
    said = " ".join(capsys.readouterr().err.split())
    assert "imagenet is not on this machine, so samples of 224 x 224 x 3 are made up" in said
    assert "accuracies mean nothing" in said


@pytest.mark.parametrize("asked", [{"input": "resident"}, {"dataset": "imagenet"}, {}])
def test_data_that_were_asked_for_have_to_be_there(monkeypatch, tmp_path, asked):
    named = () if asked else (tmp_path,)
    with pytest.raises(Exception, match="data set imagenet is not in"):
        resolved(monkeypatch, tmp_path, *named, **asked)


def test_statistics_of_all_devices_are_refused_where_layers_know_one(results):
    done = train(
        results,
        "--model=keras:MobileNet",
        "--image-size=32",
        "--batch=4",
        "--train-samples=8",
        "--batchnorm=sync",
    )
    assert done.status == 2
    assert "model keras:MobileNet brings 27 batch normalizations of its own" in done.errors


@pytest.mark.slow
def test_a_reference_model_is_measured_without_data(results):
    done = train(
        results,
        "--model=resnet-50",
        "--image-size=32",
        "--batch=4",
        "--train-samples=16",
        "--test-samples=4",
        "--seconds=1",
    )
    assert done.status == 0, done.errors
    folder, document = only_run(results)
    assert document["config"]["input"] == "synthetic"
    assert document["trainable_parameters"] == 25_557_032
    assert document["parameters"] == 25_610_152
    assert (folder / "throughput.csv").exists()
