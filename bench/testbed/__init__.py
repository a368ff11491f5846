"""Device, edge and cloud in network namespaces on links shaped by ``tc tbf``: what the coordinator's plans are worth.

python -m bench testbed --help
"""
