"""From a torch module or an exported program to an ONNX file: the only module of tiercut that needs torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tiercut.errors import ExportError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

Arrays = list[NDArray[np.generic]]

#: What torch says, in one wording or another, when Python's ``if`` or ``while`` looks at a tensor's value.
_DATA_DEPENDENT = ("data-dependent", "data dependent", "dynamic control flow", "unbacked")


def as_module(value: object) -> torch.nn.Module | None:
    """The value if it is a torch module; torch is imported only if somebody has done so before."""
    if not hasattr(value, "state_dict"):
        return None
    torch = import_torch()
    return value if isinstance(value, torch.nn.Module) else None


def import_torch() -> Any:
    """Torch.

    Raises:
        ExportError: it or what its ONNX exporter needs is not installed.
    """
    try:
        import onnxscript  # noqa: F401, PLC0415 - heavy, and only authors have it
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise ExportError(
            "torch models cannot be exported here",
            expected="the packages torch and onnxscript",
            came=f"no module '{error.name}'",
            fix="run 'pip install tiercut[author]', or export to ONNX elsewhere",
        ) from error
    return torch


def load_program(path: Path) -> ExportedProgram:
    """Read a ``.pt2`` file.

    Raises:
        ExportError: it is no exported program.
    """
    torch = import_torch()
    try:
        with quiet():
            program: ExportedProgram = torch.export.load(path)
    except Exception as error:  # torch raises anything here
        raise _failed(f"cannot read '{path}'", error, fix="write it with torch.export.save") from error
    return program


def export_module(module: torch.nn.Module, args: Sequence[object]) -> ExportedProgram:
    """Trace a module in evaluation mode on an example; its own mode is put back.

    Raises:
        ExportError: it decides by its data which layers run, or torch cannot trace it.
    """
    torch = import_torch()
    training = module.training
    module.eval()
    try:
        with quiet(), torch.no_grad():
            program: ExportedProgram = torch.export.export(module, tuple(map(_as_tensor, args)))
    except Exception as error:  # torch raises anything here, the module's own errors included
        if any(word in f"{type(error).__name__} {error}".lower() for word in _DATA_DEPENDENT):
            raise ExportError(
                f"the model {type(module).__name__} decides by its data which layers run",
                expected="a feed-forward graph, the same nodes for every input",
                came="Python control flow on a tensor's value",
                fix="replace it with tensor operations (torch.where, fixed repetitions)",
            ) from error
        raise _failed(f"torch cannot trace the model {type(module).__name__}", error) from error
    finally:
        module.train(training)
    return program


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """Translate a program to ONNX, its weights in a file beside it.

    Raises:
        ExportError: an operation has no translation.
    """
    torch = import_torch()
    try:
        with quiet(), torch.no_grad():
            translated = torch.onnx.export(program, dynamo=True, verbose=False)
            translated.save(path, external_data=True)
    except Exception as error:  # torch raises anything here
        raise _failed("torch cannot translate the model to ONNX", error) from error


def example_of(program: ExportedProgram) -> tuple[object, ...] | None:
    """The arguments that a program was traced with, if it kept them."""
    if not program.example_inputs:
        return None
    args, kwargs = program.example_inputs
    return (*args, *kwargs.values())


def flatten(values: object) -> Arrays:
    """All tensors in nested lists, tuples and dicts, in torch's order, as arrays."""
    from torch.utils import _pytree  # noqa: PLC0415 - torch has no public way

    return [_as_tensor(leaf).detach().cpu().numpy() for leaf in _pytree.tree_leaves(values)]


def runner(program: ExportedProgram, args: Sequence[object]) -> Callable[[Arrays], Arrays]:
    """The program as a function of arrays, to compare the bundle with.

    Args:
        program: The program.
        args: An example of its arguments; arrays replace its tensors in order.
    """
    from torch.utils import _pytree  # noqa: PLC0415 - torch has no public way

    torch = import_torch()
    _, structure = _pytree.tree_flatten(tuple(args))
    module = program.module()

    def run(arrays: Arrays) -> Arrays:
        tensors = [torch.from_numpy(np.array(array)) for array in arrays]
        with quiet(), torch.no_grad():
            return flatten(module(*_pytree.tree_unflatten(tensors, structure)))

    return run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what models and exporters print, warn and log to themselves: errors are raised as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        heard = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _as_tensor(value: object) -> Any:
    """A torch tensor of an array, a number, or a tensor; nested values are left for torch to judge."""
    torch = import_torch()
    return torch.from_numpy(np.array(value)) if isinstance(value, (np.ndarray, np.generic, int, float)) else value


def _failed(what: str, error: Exception, *, fix: str = "see torch.export's documentation, or use ONNX") -> ExportError:
    lines = str(error).strip().splitlines() or ["no message"]
    return ExportError(
        what,
        expected="a feed-forward model that torch.export takes",
        came=f"{type(error).__name__}: {lines[0][:200]}",
        fix=fix,
    )
