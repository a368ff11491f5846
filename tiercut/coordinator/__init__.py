"""When to change a stream's plan: events in, actions out, time as an argument. What is best is in `planner`.

`site_view` is what is known of nodes and links, `problem` makes planning problems of it, `hysteresis` says whether a
change is worth it, `core` is the state machine. The hub's shell feeds it from the bus; the simulator does the same.
"""
