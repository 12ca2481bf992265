"""One folder per task: adapter, log readers, live environment, recorded data."""
