"""Numbered system checks of settings that are unsafe together."""
