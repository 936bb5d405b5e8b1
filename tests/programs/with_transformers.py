"""A training as people write it with Hugging Face's Trainer, on a transformer of two layers."""

import sys

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

torch.manual_seed(0)
torch.set_num_threads(1)
size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
config = BertConfig(vocab_size=100, intermediate_size=64, num_labels=2, **size)
rows = [
    {"input_ids": torch.randint(0, 100, (16,)), "labels": torch.tensor(number % 2)}
    for number in range(6400)
]
arguments = TrainingArguments(
    output_dir=sys.argv[1],
    per_device_train_batch_size=16,
    gradient_accumulation_steps=2,
    max_steps=600,
    save_steps=400,
    report_to=[],
    use_cpu=True,
    disable_tqdm=True,
)
Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows).train()
