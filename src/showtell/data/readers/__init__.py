"""Readers: one module for each layout in which captioned datasets come."""
