"""What Moorage knows and decides. Imports no I/O: no asyncio, network, files, clock, environment, random, logging."""
