"""Hardware in the loop, and what stands for the hardware: the Gymnasium plant that speaks the robot port."""
