"""Pictures of the plant: an RGB array drawn with numpy alone, a window of pygame, or text."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.energy_control.config import BLOCKED, STATES

COLOURS: tuple[tuple[int, int, int], ...] = (
    (150, 156, 164),  # standby
    (236, 178, 46),  # start-up
    (94, 160, 214),  # idle
    (58, 158, 92),  # busy
    (206, 72, 64),  # failed
    (142, 96, 184),  # blocked
)
LETTERS = ".sibFX"
"""One letter for each state in text."""
NAMES = (*(name.replace("_", "-") for name in STATES), "blocked")
BACKGROUND, INK, FAINT = (250, 250, 248), (40, 44, 52), (222, 224, 226)
WIDTH, HEIGHT, BAND = 480, 134, 120

# 3 x 5 pixels for each character, a row of 3 bits after the other from the top
_FONT: dict[str, tuple[int, int, int, int, int]] = {
    "0": (7, 5, 5, 5, 7), "1": (2, 6, 2, 2, 7), "2": (7, 1, 7, 4, 7), "3": (7, 1, 7, 1, 7), "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7), "6": (7, 4, 7, 5, 7), "7": (7, 1, 1, 2, 2), "8": (7, 5, 7, 5, 7), "9": (7, 5, 7, 1, 7),
    "A": (2, 5, 7, 5, 5), "B": (6, 5, 6, 5, 6), "C": (3, 4, 4, 4, 3), "D": (6, 5, 5, 5, 6), "E": (7, 4, 6, 4, 7),
    "F": (7, 4, 6, 4, 4), "G": (3, 4, 5, 5, 3), "H": (5, 5, 7, 5, 5), "I": (7, 2, 2, 2, 7), "J": (1, 1, 1, 5, 2),
    "K": (5, 5, 6, 5, 5), "L": (4, 4, 4, 4, 7), "M": (5, 7, 7, 5, 5), "N": (6, 5, 5, 5, 5), "O": (2, 5, 5, 5, 2),
    "P": (6, 5, 6, 4, 4), "Q": (2, 5, 5, 2, 1), "R": (6, 5, 6, 5, 5), "S": (3, 4, 2, 1, 6), "T": (7, 2, 2, 2, 2),
    "U": (5, 5, 5, 5, 7), "V": (5, 5, 5, 5, 2), "W": (5, 5, 7, 7, 5), "X": (5, 5, 2, 5, 5), "Y": (5, 5, 2, 2, 2),
    "Z": (7, 1, 2, 4, 7), ".": (0, 0, 0, 0, 2), "/": (1, 1, 2, 4, 4), "-": (0, 0, 7, 0, 0), ":": (0, 2, 0, 2, 0),
    "%": (5, 1, 2, 4, 5),
}  # fmt: skip


@dataclass(frozen=True)
class StationView:
    """What a picture shows of one station."""

    parts: int
    """Parts that wait."""
    buffer: int
    """Places for them."""
    states: tuple[int, ...]
    """State of each machine."""


@dataclass(frozen=True)
class PlantView:
    """What a picture shows of a plant."""

    stations: tuple[StationView, ...]
    """The stations, in the order a part visits them."""
    time_s: float
    """The clock."""
    power_kw: float
    """Power at this moment."""
    full_kw: float
    """Power at the end of the power scale."""
    parts_per_min: float
    """Recent throughput."""
    full_parts_per_min: float
    """Throughput at the end of its scale."""
    mean_kw: float
    """Recent mean power."""


def clock_text(time_s: float) -> str:
    """Days, hours, minutes and seconds: `1 D 02:03:04`."""
    minutes, seconds = divmod(int(max(time_s, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} D {hours:02}:{minutes:02}:{seconds:02}"


def draw_text(view: PlantView) -> str:
    """A few lines: a row for each station, then power and throughput."""
    lines = [clock_text(view.time_s).lower()]
    for station in view.stations:
        bar = "#" * station.parts + "-" * (station.buffer - station.parts)
        machines = "".join(LETTERS[state] for state in station.states)
        lines.append(f"buffer [{bar}] {station.parts:>2}/{station.buffer}   machines [{machines}]")
    lines.append(f"power {view.power_kw:.1f} kW (recent mean {view.mean_kw:.1f})   {view.parts_per_min:.2f} parts/min")
    lines.append("machines: " + ", ".join(f"{LETTERS[i]} {name}" for i, name in enumerate(NAMES[: _states(view)])))
    return "\n".join(lines) + "\n"


def draw_rgb(view: PlantView) -> np.ndarray:
    """An image of shape (height, width, 3), uint8; a band for each station and one for power and throughput."""
    image = np.empty((HEIGHT + BAND * len(view.stations), WIDTH, 3), np.uint8)
    image[:] = BACKGROUND
    _write(image, 12, 10, clock_text(view.time_s))
    for i, name in enumerate(NAMES[: _states(view)]):
        image[11:21, 130 + 58 * i : 140 + 58 * i] = COLOURS[i]
        _write(image, 144 + 58 * i, 11, name.upper(), scale=1)
    top = 34
    for station in view.stations:
        _draw_station(image, top, station)
        top += BAND
    _draw_bar(image, top, "POWER", view.power_kw, view.full_kw, "KW", COLOURS[1], view.mean_kw)
    _draw_bar(image, top + 48, "PARTS", view.parts_per_min, view.full_parts_per_min, "/MIN", COLOURS[3])
    return image


def _states(view: PlantView) -> int:
    """How many states the legend names: blocked is one only in lines."""
    return BLOCKED + (len(view.stations) > 1)


def _draw_station(image: np.ndarray, top: int, station: StationView) -> None:
    _write(image, 12, top, f"BUFFER {station.parts}/{station.buffer}")
    left, right = 12, WIDTH - 12
    _box(image, top + 16, left, 24, right - left, FAINT)
    filled = round((right - left) * station.parts / station.buffer)
    _box(image, top + 16, left, 24, filled, INK)
    gap = 6 if len(station.states) <= 24 else 0
    pitch = (right - left + gap) / len(station.states)
    for i, state in enumerate(station.states):
        start = left + round(i * pitch)
        _box(image, top + 52, start, 48, max(round(pitch) - gap, 1), COLOURS[state])


def _draw_bar(
    image: np.ndarray,
    top: int,
    name: str,
    value: float,
    full: float,
    unit: str,
    colour: tuple[int, int, int],
    mark: float | None = None,
) -> None:
    _write(image, 12, top, f"{name} {value:.1f} {unit}")
    left, width = 12, WIDTH - 24
    _box(image, top + 16, left, 16, width, FAINT)
    _box(image, top + 16, left, 16, round(width * min(value / full, 1.0)), colour)
    if mark is not None:
        _box(image, top + 12, left + round((width - 2) * min(mark / full, 1.0)), 24, 2, INK)


def _box(image: np.ndarray, top: int, left: int, height: int, width: int, colour: tuple[int, int, int]) -> None:
    image[top : top + height, left : left + width] = colour


def _write(image: np.ndarray, left: int, top: int, text: str, scale: int = 2) -> None:
    for character in text.upper():
        for row, bits in enumerate(_FONT.get(character, (0, 0, 0, 0, 0))):
            for column in range(3):
                if bits & (4 >> column):
                    _box(image, top + row * scale, left + column * scale, scale, scale, INK)
        left += 4 * scale


class Window:
    """A window on the screen; it needs pygame."""

    def __init__(self, fps: int) -> None:
        try:
            self._pygame: Any = importlib.import_module("pygame")
        except ImportError:
            raise RuntimeError(
                "Rendering for humans needs pygame; install it, or use the render mode rgb_array or ansi."
            ) from None
        self._pygame.display.init()
        self._clock = self._pygame.time.Clock()
        self._fps = fps
        self._surface: Any = None

    def show(self, image: np.ndarray) -> None:
        """Show an image, at most `fps` a second."""
        if self._surface is None:
            self._surface = self._pygame.display.set_mode((image.shape[1], image.shape[0]))
            self._pygame.display.set_caption("daif/EnergyControl-v0")
        self._pygame.surfarray.blit_array(self._surface, image.swapaxes(0, 1))
        self._pygame.event.pump()
        self._pygame.display.flip()
        self._clock.tick(self._fps)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()
