"""Private parts of the autoregressive world model: a small language model that writes what the environment answers."""
