"""Doors to other projects' models."""

from scalewise.interop.reference import import_reference

__all__ = ["import_reference"]
