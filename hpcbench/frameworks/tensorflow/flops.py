"""Floating-point operations of a training step, counted in its graph: what it really computes.

A multiplication and an addition count as two, in matrix products and convolutions alone, which is
what others count (PyTorch's FlopCounterMode; the model FLOPs of PaLM, Chowdhery et al., 2022,
appendix B). Nobody asks for the gradient of a network's input, so it is not counted.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_def_registry

# Calls of other functions, by the attributes that name these.
CALLS = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f",)),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", "else_branch")),
}
LOOPS = ("While", "StatelessWhile")
# What computes as much as those below and is not counted, so that no number is given.
UNKNOWN = ("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "FFT", "RFFT", "SparseTensorDenseMatMul")
Shape = tuple[int, ...]


class UnknownWork(Exception):
    """What an operation computes is not known before it runs, or not to this file."""


class Function:
    """A graph or one of its functions: nodes by name, and the shapes of its arguments."""

    def __init__(self, nodes: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self._arguments = arguments

    def shape(self, reference: str) -> Shape:
        """The shape of ``argument``, ``node`` or ``node:output:0``, as functions write it, or
        ``node:0``, as graphs do."""
        name, *output = reference.split(":")
        if name in self._arguments:
            source, place = self._arguments[name], 0
        else:
            source = self.nodes[name]
            place = int(output[-1]) if output else 0
            if len(output) > 1:
                place += _first_of(source, output[0])
        shapes = source.attr["_output_shapes"].list.shape
        if place >= len(shapes) or shapes[place].unknown_rank:
            raise UnknownWork
        sizes = tuple(dim.size for dim in shapes[place].dim)
        if -1 in sizes:
            raise UnknownWork
        return sizes

    def needed(self, roots: Sequence[str]) -> Iterator[Any]:
        """The nodes that ``roots`` depend on, each once: others are in a graph, and left out when
        it runs."""
        seen, waiting = set(), [_node(root) for root in roots]
        while waiting:
            name = waiting.pop()
            if name not in seen and name in self.nodes:
                seen.add(name)
                waiting += map(_node, self.nodes[name].input)
                yield self.nodes[name]


def _node(reference: str) -> str:
    return reference.removeprefix("^").split(":")[0]


def _first_of(node: Any, output: str) -> int:
    """The place of an operation's first tensor that belongs to its output of this name."""
    place = 0
    for argument in op_def_registry.get(node.op).output_arg:
        if argument.name == output:
            return place
        place += node.attr[argument.number_attr].i if argument.number_attr else 1
    raise UnknownWork


def step_flops(graph: tf.Graph, parts: int = 1) -> int | None:
    """Operations of one pass through the training loop in ``graph``, on all its devices, of a batch
    that is computed in so many ``parts``; None where they cannot be known from it."""
    whole = graph.as_graph_def(add_shapes=True)
    functions = {function.signature.name: function for function in whole.library.function}
    roots = [output.op.name for output in graph.outputs] + [op.name for op in graph.control_outputs]
    try:
        return _flops(Function(whole.node, {}), roots, functions, (1, parts)[: 1 + (parts > 1)])
    except UnknownWork:
        return None


def _flops(
    of: Function, roots: Sequence[str], functions: Mapping[str, Any], passes: Sequence[int]
) -> int:
    """``passes`` count of a loop, of one within it, and so on; how many others take is not known:
    of the training loop one, and those over a batch's parts."""
    total = 0
    for node in of.needed(roots):
        if node.op in UNKNOWN:
            raise UnknownWork
        if node.op in OPERATIONS:
            total += 2 * OPERATIONS[node.op](of, node)
        called = [functions[node.attr[name].func.name] for name in CALLS.get(node.op, ())]
        # Of two branches the one with more to do.
        total += max((_of_function(each, functions, passes) for each in called), default=0)
        if node.op in LOOPS:
            body = _of_function(functions[node.attr["body"].func.name], functions, passes[1:])
            if body and not passes:
                raise UnknownWork
            total += body * passes[0] if body else 0
    return total


def _of_function(function: Any, functions: Mapping[str, Any], passes: Sequence[int]) -> int:
    names = [argument.name for argument in function.signature.input_arg]
    arguments = {name: function.arg_attr[i] for i, name in enumerate(names)}
    roots = [*function.ret.values(), *function.control_ret.values()]
    return _flops(Function(function.node_def, arguments), roots, functions, passes)


def _matrix_product(of: Function, node: Any) -> int:
    """Of shapes (..., m, k) and (..., k, n), before either is transposed."""
    first, product = of.shape(node.input[0]), of.shape(node.name)
    turned = node.attr["transpose_a" if node.op == "MatMul" else "adj_x"].b
    return math.prod(product) * first[-2 if turned else -1]


def _shape(of: Function, node: Any, place: str | int) -> Shape:
    """The shape of an input by its place, or of the node's ``own`` output."""
    return of.shape(node.name if place == "own" else node.input[int(place)])


def _convolution(output: str | int, kernel: str | int) -> Callable[[Function, Any], int]:
    """``output`` and ``kernel`` say where the shapes of the layer's output, (batch, ..., channels),
    and of its kernel, (..., channels of a group, channels), are found."""

    def count(of: Function, node: Any) -> int:
        return math.prod(_shape(of, node, output)) * math.prod(_shape(of, node, kernel)[:-1])

    return count


def _einsum(of: Function, node: Any) -> int:
    """Every index of an equation, as ``...ab,bc->...ac``, goes through its range."""
    if len(node.input) == 1:
        return 0
    sizes: dict[str, int] = {}
    equation = node.attr["equation"].s.decode()
    for term, reference in zip(equation.split("->")[0].split(","), node.input, strict=True):
        shape, (before, dots, after) = of.shape(reference), term.partition("...")
        rest = len(shape) - len(before) - len(after)
        # What the dots stand for is the same in all terms, or one there.
        unnamed = math.prod(shape[len(before) : len(before) + rest])
        sizes["..."] = max(sizes.get("...", 1), unnamed) if dots else sizes.get("...", 1)
        named = zip(before + after, shape[: len(before)] + shape[len(before) + rest :], strict=True)
        sizes |= dict(named)
    return math.prod(sizes.values())


def _depthwise(output: str | int, kernel: str | int) -> Callable[[Function, Any], int]:
    """As :func:`_convolution`, with a kernel of (..., channels, filters a channel)."""

    def count(of: Function, node: Any) -> int:
        return math.prod(_shape(of, node, output)) * math.prod(_shape(of, node, kernel)[:-2])

    return count


# Multiplications of each operation.
OPERATIONS: dict[str, Callable[[Function, Any], int]] = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _matrix_product),
    "Einsum": _einsum,
    "Conv2D": _convolution("own", 1),
    "Conv2DBackpropInput": _convolution(2, 1),
    "Conv2DBackpropFilter": _convolution(2, "own"),
    "Conv3D": _convolution("own", 1),
    "Conv3DBackpropInputV2": _convolution(2, 1),
    "Conv3DBackpropFilterV2": _convolution(2, "own"),
    "DepthwiseConv2dNative": _depthwise("own", 1),
    "DepthwiseConv2dNativeBackpropInput": _depthwise(2, 1),
    "DepthwiseConv2dNativeBackpropFilter": _depthwise(2, "own"),
}
