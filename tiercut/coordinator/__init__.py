"""Chooses the plans of a site's streams, live: events in, actions out, time as an argument.

`view` is what is known of nodes and links, `problem` puts it into the planning problem's form, `switching` says whether
a change is worth it, `core` is the state machine. The hub's shell feeds it from the bus; a simulator can do the same.
"""
