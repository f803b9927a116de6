"""Instances as containers of one or several Docker engines; `runtime.py` is the door."""
