"""A run is described once, checked once, and hashed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.config import RunConfig
from hpcbench.errors import ConfigError
from hpcbench.schedule import make_schedule
from hpcbench.strategies import STRATEGIES
from hpcbench.training.learning_rate import rates
from hpcbench.validation import parse


def test_the_workshops_defaults():
    plan = make_schedule(RunConfig(model="cnn-2"), 1, 60_000)
    assert (plan.optimizer, plan.learning_rate, plan.momentum) == ("sgd", 0.01, 0.9)
    assert (plan.global_batch, plan.epochs, plan.full_steps, plan.remainder) == (32, 10, 1875, 0)


def test_what_strategies_exchange_can_be_asked_for():
    """As each run of a sweep does on its command line."""
    for kind in STRATEGIES:
        for exchange in kind.exchanges:
            assert RunConfig(strategy=kind.name, exchange=exchange).exchange == exchange
        for compression in kind.compressions:
            assert RunConfig(strategy=kind.name, compression=compression)


def test_weak_keeps_the_device_batch_and_strong_the_global_one():
    weak = make_schedule(RunConfig(batch=64, scaling="weak"), 4, 1000)
    strong = make_schedule(RunConfig(batch=64, scaling="strong"), 4, 1000)
    assert (weak.batch_per_device, weak.global_batch) == (64, 256)
    assert (strong.batch_per_device, strong.global_batch) == (16, 64)


def test_horovods_epochs_rule_rounds_up():
    plan = make_schedule(RunConfig(epochs=12, epochs_rule="horovod"), 5, 1000)
    assert plan.epochs == 3


@pytest.mark.parametrize(("rule", "factor"), [("none", 1), ("linear", 4), ("sqrt", 2)])
def test_learning_rate_scales_with_the_global_batch(rule, factor):
    weak = RunConfig(learning_rate=0.1, lr_scaling=rule)
    assert make_schedule(weak, 4, 1000).scaled_learning_rate == pytest.approx(0.1 * factor)
    # Strong scaling keeps the global batch, so one device and four have to train alike.
    strong = weak.model_copy(update={"scaling": "strong"})
    assert make_schedule(strong, 4, 1000).scaled_learning_rate == pytest.approx(0.1)


@given(st.integers(0, 50), st.integers(1, 50), st.floats(0, 40))
def test_warm_up_rises_to_the_scaled_rate_and_stays(first, steps, warmup):
    values = rates(0.1, 0.8, warmup, first, steps)
    assert ((values >= 0.1 - 1e-12) & (values <= 0.8 + 1e-12)).all()
    assert (values[1:] >= values[:-1]).all()
    assert values[-1] == pytest.approx(0.8) or first + steps - 1 < warmup


def test_run_id_changes_with_any_setting():
    configs = [RunConfig(), RunConfig(seed=1), RunConfig(repeat=1), RunConfig(xla=True)]
    assert len({config.run_id for config in configs}) == len(configs)
    assert RunConfig().run_id == RunConfig(model="fc-64").run_id


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"batch": 0}, "--batch 0"),
        ({"modle": "fc-64"}, "did you mean 'model'"),
        ({"scaling": "wide"}, "'weak' or 'strong'"),
        ({"learning_rate": "fast"}, "--learning-rate fast"),
    ],
)
def test_a_bad_value_is_one_sentence(values, says):
    with pytest.raises(ConfigError) as error:
        parse(RunConfig, values)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RunConfig(batch=128, scaling="strong"), "multiple of 3"),
        (RunConfig(batch=500), "larger than"),
        (RunConfig(batch=64, accumulate=5), "64 is not divisible into so many equal parts"),
        (RunConfig(train_samples=2000), "only 1000"),
        (RunConfig(seconds=5, target=0.9), "nothing is evaluated"),
        (RunConfig(model="fc-46"), "did you mean 'fc-64'"),
    ],
)
def test_what_does_not_fit_together_is_refused(config, says):
    with pytest.raises(ConfigError, match=says):
        make_schedule(config, 3, 1000)


def test_an_optimizer_that_is_not_known_is_refused_and_not_another(tmp_path):
    net = tmp_path / "net.py"
    net.write_text(
        "from hpcbench.models import MODELS, ModelSpec\n"
        'MODELS.add("net", ModelSpec("net", build=lambda context: None, optimizer="lamb"))\n'
    )
    config = RunConfig(model=str(net))
    with pytest.raises(ConfigError, match=r"net is to be trained by lamb; choose --optimizer adam"):
        make_schedule(config, 1, 1000)
    chosen = config.model_copy(update={"optimizer": "larc"})
    assert make_schedule(chosen, 1, 1000).optimizer == "larc"
