"""What a person looks at: figures, sliders, and the checks of exercises."""

from . import diagrams, plots, widgets
from .exercises import check
