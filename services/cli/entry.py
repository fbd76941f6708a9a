"""From arguments to an exit code: 0 done, 1 failed, 2 wrongly asked. Whatever fails says so in one line."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType

from services.cli.arguments import UsageError, parse
from services.mesh.config import process_environment
from services.mesh.errors import MemoryBoxError

DONE, FAILED, WRONGLY_ASKED, INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """Run the command line of this process; the console script."""
    sys.excepthook = report_fault
    return run(sys.argv[1:], process_environment())


def run(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return its exit code. Only the command's own module is loaded, so that small ones are quick."""
    try:
        arguments = parse(argv)
        code: int = getattr(importlib.import_module(arguments.module), arguments.run)(arguments, environ)
        sys.stdout.flush()
    except UsageError as error:
        return _say(str(error), WRONGLY_ASKED)
    except MemoryBoxError as error:
        return _say(str(error), FAILED)
    except BrokenPipeError:
        # Whoever read our output has left, as in `memorybox search tea | head -1`; flushing at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror or error}", FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _say(message: str, code: int) -> int:
    print(f"memorybox: {'; '.join(message.splitlines())}", file=sys.stderr)
    return code


def report_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report a fault of our own: what it is and where, without the stack."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    _say(f"internal error: {kind.__name__}: {error}{where}", FAILED)
