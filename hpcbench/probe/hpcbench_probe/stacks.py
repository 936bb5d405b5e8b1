"""Where a process is, for whoever asks it by a signal."""

import faulthandler
import signal


def listen(path):
    """Let SIGUSR2 write where each thread is, if the program has no use for it itself."""
    try:
        if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
            faulthandler.register(signal.SIGUSR2, file=open(path, "w"), all_threads=True)
    except Exception:
        pass
