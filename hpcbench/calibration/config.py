"""What is asked of hpcbench calibrate, checked once."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from hpcbench.config import DEFAULT_FRAMEWORK

# In the order in which they are measured.
PRECISIONS = ("float32", "tf32", "mixed_bfloat16", "mixed_float16", "float64")
ALL = "all"


class CalibrateConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    framework: str = Field(DEFAULT_FRAMEWORK, description="whose products of matrices are measured")
    precisions: str = Field(
        ALL, description="precisions of training, joined by commas; all: those of the framework"
    )
    cores_per_device: int | None = Field(
        None, ge=1, description="CPU cores of a device, as hpcbench train has it; default: all"
    )
    seconds: float = Field(
        0.5, gt=0, le=60, description="of each measurement, of which there are five a size"
    )
    results: Path = Field(Path("results"), description="folder of results, for whose reports it is")

    @property
    def wanted(self) -> tuple[str, ...] | None:
        """The precisions asked for; None for all."""
        if self.precisions == ALL:
            return None
        return tuple(name.strip() for name in self.precisions.split(","))
