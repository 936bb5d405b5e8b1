"""What vendors say that their GPUs reach at most: dense, without the structured sparsity that their
larger figures suppose.

From data sheets and white papers: NVIDIA V100 (August 2017; white paper WP-08608-001), T4, A100
(white paper of 2020), A30, A40, L4, L40S, H100 (white paper of 2022), H200, GH200; AMD CDNA 2 and
CDNA 3, a device of MI250X being half a card. float64 and AMD's float32 are those of the matrix
units, which matrix products use. What a device is called by its driver has to fit as a whole: cards
made for one machine, as Leonardo's A100 of 64 GB, have other peaks.
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType

# By the run's precision, in TFLOP/s.
Peaks = Mapping[str, float]


def _peaks(
    float32: float,
    half: float,
    float64: float = math.nan,
    tf32: float = math.nan,
    bfloat16: bool = True,
) -> Peaks:
    return MappingProxyType(
        {
            "float32": float32,
            "tf32": tf32,
            "mixed_float16": half,
            "mixed_bfloat16": half if bfloat16 else math.nan,
            "float64": float64,
        }
    )


_H100_SXM = _peaks(66.9, 989.4, 66.9, 494.7)
VENDOR_PEAKS: Mapping[str, Peaks] = MappingProxyType(
    {
        r"Tesla V100-SXM2-(16|32)GB": _peaks(15.7, 125, 7.8, bfloat16=False),
        r"Tesla V100-PCIE-(16|32)GB": _peaks(14, 112, 7, bfloat16=False),
        r"(Tesla|NVIDIA) T4": _peaks(8.1, 65, bfloat16=False),
        r"A100-(SXM4-40GB|SXM4-80GB|SXM-80GB|PCIE-40GB)|A100 80GB PCIe": _peaks(
            19.5, 312, 19.5, 156
        ),
        r"A30": _peaks(10.3, 165, 10.3, 82),
        r"A40": _peaks(37.4, 149.7, tf32=74.8),
        r"L4": _peaks(30.3, 121, tf32=60),
        r"L40S": _peaks(91.6, 362, tf32=183),
        r"H100 80GB HBM3|H200|GH200 (120GB|480GB|144G HBM3e)": _H100_SXM,
        r"H100 PCIe": _peaks(51.2, 756, 51.2, 378),
        r"H100 NVL|H200 NVL": _peaks(60, 835, 60, 417),
        r"AMD Instinct MI250X": _peaks(47.9, 191.5, 47.9),
        r"AMD Instinct MI300A": _peaks(122.6, 980.6, 122.6),
        r"AMD Instinct MI300X": _peaks(163.4, 1307.4, 163.4),
    }
)


def vendor_teraflops(device_kind: str, precision: str) -> float:
    """The vendor's dense peak of a device, in TFLOP/s; nan where it is not known."""
    for pattern, peaks in VENDOR_PEAKS.items():
        if re.fullmatch(f"(NVIDIA )?({pattern})", device_kind):
            return peaks.get(precision, math.nan)
    return math.nan
