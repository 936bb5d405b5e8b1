"""What is looked at before each training; the rest it finds out by itself."""

from hpcbench.checkup import (
    Check,
    CheckContext,
    Severity,
    cluster,
    devices,
    findings,
    software,
    storage,
)
from hpcbench.errors import EnvironmentLacks
from hpcbench.terminal import warn

CHECKS: tuple[Check, ...] = (
    software.python,
    devices.gpus,
    devices.cores,
    storage.results,
)


def before_training(context: CheckContext, horovod: bool, alone: bool) -> None:
    """Warn of what makes numbers doubtful; EnvironmentLacks for what makes training impossible.

    A process that is ``alone`` has no others to find.
    """
    checks = (software.horovod, *CHECKS) if horovod else CHECKS
    for finding in findings(checks if alone else (*checks, cluster.host), context):
        sentence = f"{finding.subject}: {finding.found}; {finding.remedy}"
        # Without Horovod much works, but not what was asked for.
        needed = finding.subject == software.HOROVOD
        if finding.state == Severity.PROBLEM or (needed and finding.state != Severity.OK):
            raise EnvironmentLacks(sentence)
        if finding.state == Severity.WARNING:
            warn(sentence)
