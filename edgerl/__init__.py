"""Takes a trained reinforcement-learning policy from any trainer and puts it on a robot controller."""
