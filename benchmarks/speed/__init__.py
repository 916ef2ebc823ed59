"""Speed of rollouts and of training."""
