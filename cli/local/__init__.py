"""Deployments without a portal: the same inference server, in a process of the user's own."""
