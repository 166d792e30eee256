"""What a person looks at: figures, sliders, and the checks of exercises."""

from . import boxes, chemistry, diagrams, plots, widgets
from .exercises import check
from .opening import own_version, start, versions
