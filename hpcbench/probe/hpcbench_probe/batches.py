"""How many samples a batch has."""

NONE = None, None


def batch_size(batch):
    """The first dimension of the first array of a batch, in whatever it is wrapped; else None."""
    return first_array(batch)[1]


def first_array(batch):
    """The first array of a batch that has a dimension, and that; else None of both."""
    try:
        return _first_array(batch)
    except Exception:
        # Of arrays with a shape of their own.
        return NONE


def _first_array(batch):
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        found = (_first_array(part) for part in batch)
        return next((one for one in found if one is not NONE), NONE)
    shape = getattr(batch, "shape", None)
    return (batch, int(shape[0])) if shape is not None and len(shape) > 0 else NONE
