"""The command line: reads input, shows decisions. It makes none."""
