"""The package's own exceptions: each message names the file, the row and the remedy."""


class MolftError(Exception):
    """Base class of every error that the package raises on purpose."""


class DataError(MolftError, ValueError):
    """A table, a row or a molecule that cannot be used as it stands."""


class SettingsError(MolftError, ValueError):
    """An unknown profile or setting, or a value outside its range."""


class CheckpointError(MolftError, OSError):
    """A checkpoint that is missing, damaged or does not fit the model."""


class StaleRunError(CheckpointError):
    """A training folder that holds a run with other settings, data or initial weights."""


class StorageError(MolftError, OSError):
    """A place where nothing can be written: the disk is full, the folder read-only, or a file stands in its way."""


class BatchTooLargeError(MolftError, MemoryError):
    """A batch that does not fit into memory."""


class DivergenceError(MolftError, ArithmeticError):
    """A numerical procedure that left the finite numbers."""


class DataWarning(UserWarning):
    """Something odd about a table that can be used as it stands: equal molecules, or molecules that will be cut."""
