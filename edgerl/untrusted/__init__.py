"""Readers of files that nobody has vouched for: checkpoints, zip archives, arrays.

What a file says is data: nothing in it is executed, imported or looked up, and its size, depth and count are held
against :class:`edgerl.untrusted.limits.Limits` before memory is taken. What a file means is left to its importer. Needs
numpy and :mod:`edgerl.errors` only, so that whoever checks safety reads this folder and nothing else.
"""
