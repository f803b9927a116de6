"""Images on a Docker engine: environments as images, built once by content and shared; `store.py` is the door."""
