"""The page's colours: text has a contrast of 4.5 to 1 or more on what lies behind it, lines and marks 3 to 1 (WCAG 2.2, AA)."""

from types import MappingProxyType

LIGHT = MappingProxyType(
    {
        "ground": "#ffffff", "panel": "#f4f6f8", "ink": "#16191d", "quiet": "#50575f", "line": "#c9cfd6",
        "link": "#0a4fa3", "good": "#17693a", "fair": "#855300", "bad": "#b0201a",
        "first": "#6f86d6", "second": "#16191d", "third": "#b04f00", "theta": "#50575f",
        "positive": "#b04f00", "negative": "#2456b8",
    }
)  # fmt: skip
DARK = MappingProxyType(
    {
        "ground": "#13161a", "panel": "#1d2228", "ink": "#eceff2", "quiet": "#a9b2bc", "line": "#3b434c",
        "link": "#8cbcff", "good": "#6fd598", "fair": "#f0b95a", "bad": "#ff9089",
        "first": "#5c73c4", "second": "#f6f8fa", "third": "#ffa657", "theta": "#a9b2bc",
        "positive": "#ffa657", "negative": "#7fa8ff",
    }
)  # fmt: skip
