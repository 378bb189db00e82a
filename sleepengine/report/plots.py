"""The drawing tools: one style, figures without global state, SVG and PNG out of them."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sleepengine.errors import SetupError
from sleepengine.files import atomic

WIDTH = 5.2  # inches; about half a page, so that text stays readable on a phone
INK, MUTED, GRID = "#1f2328", "#59636e", "#e2e5e9"
# Okabe and Ito (2008), told apart by colour-blind readers; the first is the accent of the page.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7f87")
STYLES = ("-", "--", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_ROLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    **{colour: f"var(--c{i})" for i, colour in enumerate(COLOURS)},
}
_AWAKE, _MARKED, _ASLEEP, _FAINT = (26.0, 134.0, 204.0), (224.0, 108.0, 26.0), 128.0, 32.0
_FONT, _PAGE_FONT = "font-family: 'DejaVu Sans'", "font-family: var(--sans)"
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlepad": 9.0,
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.0,
    "xtick.minor.visible": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "svg.hashsalt": "sleepengine",
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@contextmanager
def _style() -> Iterator[Any]:
    """Our style for a moment; the reader's own settings are back afterwards. Yields matplotlib.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
        import matplotlib.image
        import matplotlib.ticker
    except ImportError as error:
        raise SetupError(
            'Plots need matplotlib, which is missing: pip install "sleepengine[report]"'
        ) from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Names may hold letters that the font lacks; a box in their place is good enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcParams.update({**_defaults(matplotlib), **_STYLE})
        yield matplotlib


def _defaults(matplotlib: Any) -> dict[str, Any]:
    """Matplotlib's own defaults, so that a reader's settings never change a report."""
    return {k: v for k, v in matplotlib.rcParamsDefault.items() if not k.startswith("backend")}


@dataclass(frozen=True)
class Plot:
    """A finished drawing: a name for its file, how to read it, and words for who cannot see it."""

    name: str
    caption: str
    alt: str
    figure: Any

    def svg(self) -> str:
        """A stand-alone SVG document on white; the same drawing gives the same text."""
        return self._write("svg", "white", _NO_METADATA).decode("utf-8")

    def inline_svg(self) -> str:
        """SVG to stand inside a page: colours and font are the page's, ids are unique to `name`."""
        return _inline(self._write("svg", "none", _NO_METADATA).decode("utf-8"), self.name)

    def save_svg(self, path: Path) -> None:
        """Write `svg()` to a file."""
        atomic.write(path, [self.svg().encode("utf-8")])

    def save_png(self, path: Path, dpi: int = 160) -> None:
        """Write a PNG file on white."""
        atomic.write(path, [self._write("png", "white", {"Software": None}, dpi)])

    def _write(self, kind: str, face: str, metadata: dict[str, None], dpi: int = 72) -> bytes:
        buffer = io.BytesIO()
        with _style():
            self.figure.savefig(buffer, format=kind, facecolor=face, metadata=metadata, dpi=dpi)
        return buffer.getvalue()


@dataclass(frozen=True)
class Pen:
    """What a chart gets to draw with: the figure, and formats for its axes."""

    figure: Any
    ticker: Any

    def percent_axis(self, axis: Any) -> None:
        """Tick labels of shares 0..1 as percent."""
        axis.set_major_formatter(self.ticker.FuncFormatter(lambda x, _: f"{100 * x:.4g}%"))

    def fixed_ticks(self, axis: Any, places: list[float], labels: list[str]) -> None:
        """Exactly these ticks and no others."""
        axis.set_major_locator(self.ticker.FixedLocator(places))
        axis.set_major_formatter(self.ticker.FixedFormatter(labels))
        axis.set_minor_locator(self.ticker.NullLocator())

    def whole_steps(self, axis: Any, most: int = 5) -> None:
        """Few ticks at whole numbers, thousands as k."""
        axis.set_major_locator(self.ticker.MaxNLocator(most, integer=True))
        axis.set_major_formatter(self.ticker.FuncFormatter(lambda x, _: _thousands(x)))

    def legend(self, handles: list[Any], labels: list[str]) -> None:
        """A legend below all panels, as many columns as fit; the figure grows by its rows."""
        if len(handles) < 2:
            return
        # Matplotlib leaves out labels that begin with _, so those get a space.
        shown = [f" {label}" if label.startswith("_") else label for label in labels]
        wide = 0.5 + 0.08 * max(len(label) for label in labels)
        columns = max(1, min(4, int(WIDTH / wide)))
        rows = -(-len(handles) // columns)
        self.figure.set_figheight(self.figure.get_figheight() + 0.06 + 0.19 * rows)
        self.figure.legend(handles, shown, loc="outside lower left", ncols=columns)


def draw(
    name: str,
    caption: str,
    alt: str,
    paint: Callable[[Pen], None],
    height: float = 3.4,
) -> Plot:
    """Run `paint` on an empty figure, `height` inches high, in our style.

    Raises:
        SetupError: matplotlib is not installed.
    """
    with _style() as matplotlib:
        figure = matplotlib.figure.Figure(figsize=(WIDTH, height), layout="constrained")
        paint(Pen(figure, matplotlib.ticker))
    return Plot(name, caption, alt, figure)


def png(grid: Tensor, marked: Tensor | None = None) -> bytes:
    """A PNG of a grid of shares 0..1, one pixel each: grey where all sleep, blue where not.

    The blue is the more opaque the more is awake; where `marked` (shares too) is above a half it is
    orange. NaN is fully transparent. All of it shows on a light and on a dark page.
    """
    shares = grid.nan_to_num(0.0).clamp(0.0, 1.0)
    pixels = torch.where((shares > 0.0)[..., None], shares.new_tensor(_AWAKE), _ASLEEP)
    if marked is not None:
        pixels = torch.where((marked > 0.5)[..., None], shares.new_tensor(_MARKED), pixels)
    alpha = _FAINT + (255.0 - _FAINT) * shares
    alpha = alpha.round().masked_fill(grid.isnan(), 0.0)
    pixels = torch.cat([pixels, alpha[..., None]], dim=-1)
    buffer = io.BytesIO()
    with _style() as matplotlib:
        matplotlib.image.imsave(
            buffer, pixels.byte().numpy(), format="png", metadata={"Software": None}
        )
    return buffer.getvalue()


def dashes(rank: int) -> str | tuple[float, tuple[float, float]]:
    """A line style for the line that lies on `rank` others, so that all of them show through.

    The lowest is whole, the next covers every second dash, those above every fourth.
    """
    if rank == 0:
        return "-"
    return (0, (3, 3)) if rank == 1 else (9, (3, 9))


def _thousands(x: float) -> str:
    return f"{x / 1000:g}k" if abs(x) >= 10_000 else f"{x:g}"


def _inline(svg: str, name: str) -> str:
    """Drop the prolog, the document-wide style and unused ids; make the others unique.

    Hundredths of a point are fine enough for places.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"""(?:url\(|href=")#([^)"]+)""", svg))
    # Tag by tag, so that a name that spells out an id or a colour stays as it is.
    return re.sub(r"<[^>]+>", lambda match: _inline_tag(match[0], name, used), svg)


def _inline_tag(tag: str, name: str, used: set[str]) -> str:
    if tag.startswith("<svg"):
        tag = re.sub(r' (width|height)="[^"]*"', "", tag)
    tag = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), tag)
    tag = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", tag)
    tag = re.sub(r"""(url\(|href=")#""", rf"\g<1>#{name}-", tag).replace(_FONT, _PAGE_FONT)
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: _ROLES.get(m[0], m[0]), tag)
