"""What a page shows: figures, drawings, sliders, and the checks of exercises."""

from . import drawings, plots, widgets
from .exercises import check
from .opening import own_version, start, versions
