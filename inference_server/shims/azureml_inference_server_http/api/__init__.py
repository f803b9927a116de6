"""What scoring scripts may import: the request, the response, and `rawhttp`."""
