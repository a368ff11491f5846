"""A full site planned as one machine: when that is called for, which mixes follow, and what is said of it.

`lines` are lines that several hops share, `full` says whether streams can be planned one by one, `problem` makes one
problem of all, `planning` decides when a better answer is worth a change, `capacity` is what people are told.
"""
