"""For maintainers: data, checkpoint, results of record and pages. Nothing else in the package imports it."""
