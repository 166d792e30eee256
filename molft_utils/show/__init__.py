"""What a person looks at: figures, sliders, and the checks of exercises."""

from . import plots, widgets
from .exercises import check
