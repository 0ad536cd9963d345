"""A user's own Python: `package.module:function`, which gives samples, or scores outputs."""

from __future__ import annotations

import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tvm_split.errors import DataError, last_line

_NAME = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def is_function(source: str) -> bool:
    """Whether the text has the form `package.module:function`, and no file is called so."""
    return _NAME.fullmatch(source) is not None and not Path(source).exists()


def items(source: str) -> Generator[Any, None, None]:
    """What the function yields or returns one after another; the current folder is searched for the module as well.

    DataError: there is no such module or function, it gives nothing to go through, or it raises.
    """
    given = 0
    with _running(source, lambda: f"after {given} {'batch' if given == 1 else 'batches'}"):
        made = _found(source)()
        if not hasattr(made, "__iter__"):
            raise DataError(
                f"{source}: the function returns {type(made).__name__}; expected batches one after another: yield an "
                "array, a dict of arrays by input name, or a pair of one of these and labels"
            )
        for item in made:
            yield item
            given += 1


def loaded(source: str) -> Callable[..., Any]:
    """The function; the current folder is searched for the module as well, now and while the function runs.

    DataError: there is no such module or function; or, from the function returned, what the user's raises.
    """
    with _running(source):
        function = _found(source)

    def call(*arguments: Any) -> Any:
        with _running(source):
            return function(*arguments)

    return call


def _found(source: str) -> Callable[..., Any]:
    module, function = source.split(":")
    found: Callable[..., Any] | None = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise DataError(f"{source}: module '{module}' has no function '{function}'")
    return found


@contextmanager
def _running(source: str, when: Callable[[], str] = str) -> Iterator[None]:
    """The current folder among those that modules are searched in; whatever the user's code raises, SystemExit too, as
    a DataError that says where in its code, and when."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    except DataError:
        raise
    except (Exception, SystemExit) as error:
        said = ", ".join(filter(None, (_place(error), when())))
        told = f" ({said})" if said else ""
        raise DataError(f"{source}: {type(error).__name__}: {last_line(error)}{told}") from error
    finally:
        sys.path.remove(here)


def _place(error: BaseException) -> str:
    """The last line of the user's own code that an error came through; "" when it came through none."""
    others = [sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")] + [str(Path(__file__).parent)]
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(("<", *(f"{folder}/" for folder in others)))
    ]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
