"""Certificates, identities and who holds them.

Who may publish what follows from `protocol.topics` and `broker.mosquitto`.
"""
