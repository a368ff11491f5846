"""The coordinator on the bus: what it hears, and how its actions are carried out.

Its decisions are in `tiercut.coordinator`.
"""
