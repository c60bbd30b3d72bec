"""The control socket of a run: what people and programs outside may ask of it, and who may (docs/control.md).

``client`` is the public side, ``server`` the run's. What is sent between them is in ``messages``, where the sockets lie
in ``places``, who owns the robot in ``owner``.
"""
