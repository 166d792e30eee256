"""The benchmark against other libraries, ``make bench``: the same work on the same inputs, with what it cost."""
