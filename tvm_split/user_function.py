"""Samples from a user's own Python: `package.module:function`, called without arguments."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Generator
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
    module, function = source.split(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function, None)
        if not callable(found):
            raise DataError(f"{source}: module '{module}' has no function '{function}'")
        made = found()
        if not hasattr(made, "__iter__"):
            raise DataError(
                f"{source}: the function returns {type(made).__name__}; expected batches one after another: yield an "
                "array, a dict of arrays by input name, or a pair of one of these and labels"
            )
        yield from made
    except DataError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise DataError(f"{source}: {type(error).__name__}: {last_line(error)}") from error
    finally:
        sys.path.remove(here)
