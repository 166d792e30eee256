"""Eighteen exercises, three a notebook: ``check("04.2", answer)`` says whether an answer is right, and hints if not.

What is expected stands in this folder, and the solutions in the notebooks are folded away.
"""

from .checking import check
