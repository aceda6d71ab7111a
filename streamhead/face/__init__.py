"""Portraits: where the face is, how it is aligned and how it is put back."""

__all__: list[str] = []
