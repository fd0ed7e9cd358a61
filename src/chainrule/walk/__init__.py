"""One module per walker of the graph."""
