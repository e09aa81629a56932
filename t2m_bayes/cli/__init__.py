"""The command line, ``t2m``.

Results go to standard output, messages to standard error. What a user can mend ends with one
message and exit code 2. A command imports what is heavy when it runs, not before.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from t2m_bayes.cli import (
    benchmark,
    budget,
    calibrate,
    compare,
    data,
    demo,
    diagnose,
    evaluate,
    plan,
    predict,
    reference,
    report,
    simulate,
    train,
    workload,
)
from t2m_bayes.cli.output import log_to_stderr
from t2m_bayes.errors import T2MError, missing_extra

BAD_INPUT = 2
"""Exit code of what a user can mend, as for wrong options."""

SOON_S: Final = 0.05
"""Time until an interruption that was lost is repeated."""


class _Commands(TyperGroup):
    """Turns errors that a user can act on into one message."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command, without a traceback where the message says it all."""
        try:
            return super().invoke(ctx)
        except T2MError as error:
            message = str(error)
        except ModuleNotFoundError as error:
            hint = missing_extra(error)
            if hint is None:
                raise
            message = hint
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            message = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(BAD_INPUT)


app = typer.Typer(
    name="t2m",
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from t2m_bayes import __version__

        typer.echo(f"t2m-bayes {__version__}")
        raise typer.Exit


EXAMPLES: Final = """\b
Examples:
  t2m predict --model 8B --input-tokens 100 --output-tokens 50
  t2m train --server runs.xlsx --tegra jetson/ --output outputs
  t2m evaluate --fit outputs --model 14B
"""


@app.callback(epilog=EXAMPLES)
def t2m(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Latency of a language model on a Jetson, from token counts, with error bars."""
    log_to_stderr()


app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("budget", epilog=budget.EXAMPLES)(budget.budget)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("workload", epilog=workload.EXAMPLES)(workload.workload)
app.command("train", epilog=train.EXAMPLES)(train.train)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("diagnose", epilog=diagnose.EXAMPLES)(diagnose.diagnose)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("benchmark", epilog=benchmark.EXAMPLES)(benchmark.benchmark)
app.add_typer(data.app, name="data")
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("simulate", epilog=simulate.EXAMPLES)(simulate.simulate)
app.command("calibrate", epilog=calibrate.EXAMPLES)(calibrate.calibrate)
app.command("reference", epilog=reference.EXAMPLES)(reference.reference)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)


def _repeat_interruption(lost: Any) -> None:
    """Repeat an interruption that came in a callback of C code, where it is reported and lost.

    A compiler calls back all the time, so that Ctrl-C would mostly be in vain.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        again = threading.Timer(SOON_S, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(lost)


def main() -> None:
    """Run ``t2m``; an interruption ends with exit code 130."""
    sys.unraisablehook = _repeat_interruption
    try:
        app(prog_name="t2m")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
