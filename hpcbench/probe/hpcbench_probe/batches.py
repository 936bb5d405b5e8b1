"""How many samples a batch has."""


def batch_size(batch):
    """The first dimension of the first array of a batch, in whatever it is wrapped; else None."""
    try:
        return _batch_size(batch)
    except Exception:
        # Of arrays with a shape of their own.
        return None


def _batch_size(batch):
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        found = (_batch_size(part) for part in batch)
        return next((size for size in found if size is not None), None)
    shape = getattr(batch, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) > 0 else None
