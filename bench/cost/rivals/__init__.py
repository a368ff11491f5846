"""Calls of the same model as other programs do them: one hop, request and answer."""
