"""Joint diffusion over windows of an episode: actions, observations and rewards together, stitched at the last
state."""
