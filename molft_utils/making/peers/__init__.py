"""The benchmark against other libraries, ``make peers``: the same work on the same inputs, with what it cost."""
