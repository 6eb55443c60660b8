"""Live progress of a training: rate, time left and the key figures."""

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_KEY_FIGURES = {
    "plant/production_loss_pct": ("loss", "{:.2f}%"),
    "plant/energy_saving_pct": ("saving", "{:.2f}%"),
    "plant/preference_score": ("score", "{:.3f}"),
    "eval/mean_reward": ("eval", "{:.1f}"),
    "rollout/ep_rew_mean": ("return", "{:.1f}"),
    "efe/total": ("G", "{:.3f}"),
}
_LINE_EVERY_S = 10.0


class ProgressReport:
    """A bar on a terminal, a line now and then elsewhere.

    Args:
        console: where it is shown.
        epochs: planned number of epochs.
        done: epochs that were finished before.
    """

    def __init__(self, console: Console, epochs: int, done: int) -> None:
        self.console = console
        self.epochs = epochs
        self._figures: dict[str, str] = {}
        self._started = self._last_line = time.perf_counter()
        self._first = done
        self._bar = Progress(
            TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs, completed=done)

    def __enter__(self) -> "ProgressReport":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, epoch: int, decisions: int, rate: float, metrics: Mapping[str, float]) -> None:
        """Show that an epoch is finished."""
        for name, (label, form) in _KEY_FIGURES.items():
            if name in metrics:
                self._figures[label] = form.format(metrics[name])
        text = "  ".join(
            [f"{decisions:,} decisions", f"{rate:,.0f}/s", *(f"{k} {v}" for k, v in self._figures.items())]
        )
        self._bar.update(self._task, completed=epoch, description=text)
        now = time.perf_counter()
        if not self.console.is_terminal and (epoch == self.epochs or now - self._last_line >= _LINE_EVERY_S):
            self._last_line = now
            left_s = (now - self._started) / max(epoch - self._first, 1) * (self.epochs - epoch)
            self.console.print(f"epoch {epoch}/{self.epochs}  {text}  {left_s:,.0f} s left", soft_wrap=True)

    def warn(self, message: str) -> None:
        """Show a warning beside the progress."""
        self.console.print(f"[yellow]{message}[/yellow]", soft_wrap=True)
