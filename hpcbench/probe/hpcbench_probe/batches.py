"""How many samples a batch has."""


def batch_size(batch):
    """The first dimension of the first array of a batch, in whatever it is wrapped; else None."""
    array = first_array(batch)
    return None if array is None else int(array.shape[0])


def first_array(batch):
    """The first array of a batch that has a dimension; else None."""
    try:
        return _first_array(batch)
    except Exception:
        # Of arrays with a shape of their own.
        return None


def _first_array(batch):
    if isinstance(batch, dict):
        batch = list(batch.values())
    if isinstance(batch, (list, tuple)):
        found = (_first_array(part) for part in batch)
        return next((array for array in found if array is not None), None)
    shape = getattr(batch, "shape", None)
    return batch if shape is not None and len(shape) > 0 and int(shape[0]) >= 0 else None
