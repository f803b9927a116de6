"""The roof: settings, processes, pages."""
