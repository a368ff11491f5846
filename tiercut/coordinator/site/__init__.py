"""A full site planned as one machine: when that is called for, which mixes follow, and what is said of it.

`lines` are lines that several hops share, `problem` makes one problem of all streams and says what they ask too much
of, `planning` decides whether they are planned as one and when a better answer is worth a change, `patience` how long
plans stay, `capacity` is what people are told. `coordinator.full_site` is their place among the coordinator's streams.
"""
