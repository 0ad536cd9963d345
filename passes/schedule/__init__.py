"""Schedule rules in dlight's protocol, one kind of kernel a file. `RULES` is the list in order; the first that answers wins."""
