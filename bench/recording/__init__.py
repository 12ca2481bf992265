"""The parts of a recording, in the order in which they are made. `bench.collect` carries them out."""
