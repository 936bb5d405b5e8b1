"""A small sweep's file, and the machine that it is planned for."""

from hpcbench.cluster.site import Machine

TWO = Machine("two cores", 2, 2, 1)

SMALL = """
name = "small"
repeats = 1
devices = [1, 2]
strategies = ["horovod", "mirrored"]
[settings]
train_samples = 2560
epochs = 1
[[models]]
model = "fc-64"
"""


def sweep_file(tmp_path, text=SMALL):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return path
