"""What is done to a diffusers network: which part trains, checkpointing, compilation, sharding."""
