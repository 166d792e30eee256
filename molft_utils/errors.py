"""The package's own exceptions: each message names the file, the row and the remedy."""


class MolftError(Exception):
    """Base class of every error that the package raises on purpose."""


class DataError(MolftError, ValueError):
    """A table, a row or a molecule that cannot be used as it stands."""


class SettingsError(MolftError, ValueError):
    """An unknown profile or setting, or a value of the wrong type or out of range."""


class CheckpointError(MolftError, OSError):
    """A checkpoint that is missing, damaged or does not fit the model."""


class StaleRunError(CheckpointError):
    """A training folder that holds a run with other settings, data or initial weights."""


class StorageError(MolftError, OSError):
    """A disk that is full, or a mounted drive that does not answer."""


class DivergenceError(MolftError, ArithmeticError):
    """A numerical procedure that left the finite numbers, or found no solution."""


class DataWarning(UserWarning):
    """Something odd about molecules that can be used as they stand: equal ones, or some that will be cut."""
