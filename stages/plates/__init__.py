"""Plates: the background of a shot without its subjects, from what is seen of it at other times."""
