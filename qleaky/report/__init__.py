"""Pictures of what was compared, and the page that shows a whole check."""

from qleaky.report.page import html_report
from qleaky.report.sample_picture import Trace, draw_sample

__all__ = ["Trace", "draw_sample", "html_report"]
