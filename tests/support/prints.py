"""What other tools print, and how it is read in tests."""

from hpcbench.logs.runs import printed
from hpcbench.logs.text import lines_of

HOROVOD = """\
Model: ResNet50
Batch size: 64
Number of GPUs: 4
Running warmup...
Running benchmark...
Iter #0: 300.0 img/sec per GPU
Iter #1: 330.0 img/sec per GPU
Img/sec per GPU: 315.0 +-29.4
Total img/sec on 4 GPU(s): 1260.0 +-117.6
"""


TF_CNN = """\
TensorFlow:  1.13
Model:       resnet50
Dataset:     imagenet (synthetic)
Mode:        training
SingleSess:  False
Batch size:  128 global
             64 per device
Num batches: 100
Num epochs:  0.01
Devices:     ['horovod/gpu:0', 'horovod/gpu:1']
Data format: NCHW
Optimizer:   momentum
Variables:   horovod
==========
Step\tImg/sec\ttotal_loss
1\timages/sec: 300.1 +/- 0.0 (jitter = 0.0)\t8.4
100\timages/sec: 300.5 +/- 0.2 (jitter = 1.0)\t7.9
----------------------------------------------------------------
total images/sec: 600.25
----------------------------------------------------------------
"""


# TensorFlow 1.4: no version, no number of batches; each worker prints the total of all.
TF_1_4 = """\
Model:       inception3
Mode:        training
Batch size:  512 global
             64 per device
Devices:     ['/gpu:0']
Data format: NCHW
Optimizer:   sgd
Variables:   distributed_replicated
==========
Step\tImg/sec\tloss
1\timages/sec: 110.0 +/- 0.0 (jitter = 0.0)\t7.3
60\timages/sec: 112.5 +/- 0.2 (jitter = 1.0)\t7.2
----------------------------------------------------------------
total images/sec: 900.01
----------------------------------------------------------------
"""


DLPERF = """\
model = resnet50
gpu_num_per_node = 8
num_nodes = 2
batch_size_per_device = 128
use_fp16 = False
train: epoch 0, iter 20, loss: 7.08, top_1: 0.0, top_k: 0.0, samples/s: 1000.125
train: epoch 0, iter 40, loss: 6.98, top_1: 0.0, top_k: 0.1, samples/s: 5900.500
train: epoch 0, iter 60, loss: 6.91, top_1: 0.0, top_k: 0.1, samples/s: 6100.250
"""


TITAN = """\
[rank0]:[titan] 2025-01-01 10:00:00,001 - root - INFO - Building 1-D device mesh with ['dp_shard'], [8]
[rank0]:[titan] 2025-01-01 10:00:01,001 - root - INFO - Building llama3 8B with TransformerModelArgs(dim=4096)
[rank0]:[titan] 2025-01-01 10:00:09,001 - root - INFO - Training starts at step 1, with local batch size 1, global batch size 8, sequence length 8192, total steps 30 (warmup 200)
[rank0]:[titan] 2025-01-01 10:00:12,001 - root - INFO - step:  1  loss: 12.2  memory: 40.1GiB(50.1%)  tps: 600  tflops: 30.1  mfu: 3.0%
[rank0]:[titan] 2025-01-01 10:00:22,001 - root - INFO - step: 11  loss: 10.8  memory: 47.6GiB(59.5%)  tps: 8,192  tflops: 400.0  mfu: 40.5%
[rank0]:[titan] 2025-01-01 10:00:32,001 - root - INFO - step: 21  loss:  9.9  memory: 47.6GiB(59.5%)  tps: 8,192  tflops: 400.0  mfu: 40.5%
"""  # noqa: E501


MEGATRON = """\
using world size: 8, data-parallel size: 4, context-parallel size: 1, tensor-model-parallel size: 2, pipeline-model-parallel size: 1
------------------------ arguments ------------------------
  hidden_size ..................................... 1024
  num_layers ...................................... 24
  params_dtype .................................... torch.bfloat16
  seq_length ...................................... 2048
-------------------- end of arguments ---------------------
 [2025-01-01 10:00:00] iteration       10/      30 | consumed samples:          640 | elapsed time per iteration (ms): 4000.0 | throughput per GPU (TFLOP/s/GPU): 20.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 1.0E+01 |
 [2025-01-01 10:00:05] iteration       20/      30 | consumed samples:         1280 | elapsed time per iteration (ms): 500.0 | throughput per GPU (TFLOP/s/GPU): 160.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 9.0E+00 |
 [2025-01-01 10:00:10] iteration       30/      30 | consumed samples:         1920 | elapsed time per iteration (ms): 640.0 | throughput per GPU (TFLOP/s/GPU): 130.1 | learning rate: 1.0E-06 | global batch size:    64 | lm loss: 8.0E+00 |
"""  # noqa: E501


ALL = {
    "horovod": (HOROVOD, 4, [1200.0, 1320.0]),
    "tf_cnn": (TF_CNN, 2, [600.25]),
    "tf_1_4": (TF_1_4, 8, [900.01]),
    "dlperf": (DLPERF, 16, [5900.5, 6100.25]),
    "torchtitan": (TITAN, 8, [8.0, 8.0]),
    "megatron": (MEGATRON, 8, [128.0, 100.0]),
}


def found(text):
    return printed(lines_of(text.encode()), 10)


def rates(run):
    return [rate for _, rate in run.intervals]
