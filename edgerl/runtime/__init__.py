"""The control loop on the robot: numpy and the standard library only."""
