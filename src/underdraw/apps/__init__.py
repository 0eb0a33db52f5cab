"""The doors of the house: a command line. It wires the floors together and knows nothing of its own."""
