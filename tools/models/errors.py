"""The error of packing a model."""

from __future__ import annotations


class PackError(Exception):
    """Why a model cannot be packed and what to do, in one sentence."""
