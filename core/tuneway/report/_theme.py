"""The colours of charts, by Okabe and Ito, which colour-blind people can distinguish. Dashes and markers differ too."""

from __future__ import annotations

from dataclasses import dataclass

from tuneway._escape import excerpt
from tuneway.errors import InvalidSpec
from tuneway.models import Role

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a chart, as CSS colours."""

    ink: str
    muted: str
    grid: str
    train: str
    valid: str
    full_valid: str
    background: str | None = None

    def of(self, role: Role) -> str:
        """The colour of a series."""
        return {Role.TRAIN: self.train, Role.VALID: self.valid, Role.FULL_VALID: self.full_valid}[role]


# For charts in the HTML page, whose style sheet defines the colours for light and dark.
PAGE = Theme(
    ink="var(--ink)",
    muted="var(--muted)",
    grid="var(--line)",
    train="var(--train)",
    valid="var(--valid)",
    full_valid="var(--full-valid)",
)

THEMES = {
    # For pages with unknown colours: no background, and medium colours that are visible on white and on black.
    "both": Theme(
        ink="#7d8590",
        muted="#7d8590",
        grid="#7d859055",
        train="#0f85c9",
        valid="#d55e00",
        full_valid="#009e73",
    ),
    "light": Theme(
        ink="#1f2328",
        muted="#59636e",
        grid="#dde1e6",
        train="#0072b2",
        valid="#d55e00",
        full_valid="#009e73",
        background="#ffffff",
    ),
    "dark": Theme(
        ink="#e6edf3",
        muted="#9aa4af",
        grid="#2c333c",
        train="#56b4e9",
        valid="#e69f00",
        full_valid="#009e73",
        background="#12161c",
    ),
}

DASHES = {Role.TRAIN: None, Role.VALID: "7 4", Role.FULL_VALID: "2 3"}


def theme_named(name: str) -> Theme:
    """Get a theme by its name."""
    try:
        return THEMES[name]
    except KeyError:
        names = ", ".join(THEMES)
        raise InvalidSpec(f"unknown theme {excerpt(name)}", field="theme", hint=f"Give one of: {names}.") from None
