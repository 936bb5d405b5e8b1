"""A training as people write it with Lightning, with validation."""

import sys

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def validation_step(self, batch, _):
        self.log("loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


torch.manual_seed(0)
torch.set_num_threads(1)
data = TensorDataset(torch.randn(25600, 784), torch.randint(0, 10, (25600,)))
trainer = lightning.Trainer(
    default_root_dir=sys.argv[1],
    max_epochs=5,
    accelerator="cpu",
    logger=False,
    enable_progress_bar=False,
)
trainer.fit(Net(), DataLoader(data, batch_size=64), DataLoader(data, batch_size=640))
