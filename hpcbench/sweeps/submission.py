"""What was handed to a scheduler: a small file an array, so that every run's state can be known."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcbench.config import OutputConfig, RunConfig
from hpcbench.errors import ConfigError
from hpcbench.programs.config import ProgramConfig
from hpcbench.records.writer import ensure_writable, write_atomically
from hpcbench.sweeps.plan import PlannedRun

FOLDER = "submissions"


@dataclass
class Submission:
    """An array: its runs by index, where they write, and its job number once it has one.

    ``site`` is empty where a job took its site from what it was given.
    """

    sweep: str
    site: str
    results: Path
    data_dir: Path | None
    tasks: dict[str, list[RunConfig | ProgramConfig]] = field(default_factory=dict)
    array_job: str = ""

    @property
    def output(self) -> OutputConfig:
        """Where the runs write; a run that was stopped before goes on."""
        return OutputConfig(
            results=self.results, sweep=self.sweep, data_dir=self.data_dir, resume=True
        )

    def runs(self, index: str) -> list[PlannedRun]:
        folder = self.results / self.sweep
        return [PlannedRun(c, folder / c.run_id) for c in self.tasks.get(index, [])]

    def write(self, path: Path) -> None:
        """Replace the file, whole or not at all."""
        content: dict[str, Any] = {
            "sweep": self.sweep,
            "site": self.site,
            "results": str(self.results),
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "array_job": self.array_job,
            "tasks": {
                index: [config.model_dump(mode="json") for config in configs]
                for index, configs in self.tasks.items()
            },
        }
        write_atomically(path, json.dumps(content).encode())


def read_submission(path: Path) -> Submission:
    """Raises ConfigError where the file is missing or no submission's."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        data_dir = content["data_dir"]
        return Submission(
            sweep=content["sweep"],
            site=content["site"],
            results=Path(content["results"]),
            data_dir=Path(data_dir) if data_dir else None,
            tasks={
                index: [_config(config) for config in configs]
                for index, configs in content["tasks"].items()
            },
            array_job=content["array_job"],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"submission {path}: {error}") from error


def submissions_folder(results: Path, sweep: str) -> Path:
    """The folder of a sweep's submissions, made if it is not there."""
    folder = results / sweep / FOLDER
    ensure_writable(folder)
    return folder


def _config(values: dict[str, Any]) -> RunConfig | ProgramConfig:
    return ProgramConfig(**values) if "command" in values else RunConfig(**values)


def all_submissions(results: Path, sweep: str) -> Sequence[Submission]:
    """The submissions of a sweep, the oldest first."""
    paths = list((results / sweep / FOLDER).glob("*.json"))
    return [read_submission(path) for path in sorted(paths, key=lambda path: path.stat().st_mtime)]
