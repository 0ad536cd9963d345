"""The errors a user can cause. Each message names the thing, its value, what was expected and what to do."""


class SplitError(ValueError):
    """Root of every error that tvm-split raises on bad input; the command line prints it and exits with 2."""


class ModelError(SplitError):
    """The model file cannot be read, or uses something that cannot be compiled."""


class GraphError(SplitError):
    """A graph, cut or plan contradicts itself."""


class PlanError(SplitError):
    """No plan satisfies the constraints, or a planner was given numbers it cannot use."""


class TargetError(SplitError):
    """A target or a link is unknown, or its file is wrong."""


class CostError(SplitError):
    """A cost is missing, negative or not finite."""


class BundleError(SplitError):
    """A bundle is damaged, or its halves do not belong together."""


class BuildError(SplitError):
    """A module cannot be compiled or linked."""


class TuneError(SplitError):
    """A database of tuned schedules is damaged, for something else, or in use; or nothing can be tuned."""


class LinkDownError(SplitError):
    """A process, tracker or board on the other side cannot be reached."""


class DataError(SplitError):
    """Calibration or test data cannot be read, or does not fit the network's inputs."""


class PlotError(SplitError):
    """A picture cannot be drawn: no matplotlib, an unknown suffix, or nothing to draw."""


def last_line(error: BaseException) -> str:
    """The last line of a message that has many, as TVM's have; it says what went wrong. The type's name without one."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
