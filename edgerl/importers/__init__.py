"""Reading trainers' checkpoints without running them."""
