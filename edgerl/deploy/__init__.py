"""Getting a bundle onto a robot, and the robot's machine ready for it."""
