"""Joint diffusion over windows of an episode: actions, observations and rewards in one tensor, stitched at the last state."""
