"""SVG charts for the report and the pages."""
