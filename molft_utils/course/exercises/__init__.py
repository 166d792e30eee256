"""Eighteen exercises, three per notebook: ``check("04.2", answer)`` says if an answer is right, and gives hints."""

from . import notebooks_1_to_3, notebooks_4_to_6
from .checking import check
