"""Inputs that strangers write, tried by the thousand: `make fuzz`."""
