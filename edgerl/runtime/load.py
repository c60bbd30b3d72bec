"""What the control loop needs of a bundle."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from edgerl.backends import Engine
from edgerl.bundle.load import Bundle
from edgerl.envelope import Envelope
from edgerl.errors import PlatformError
from edgerl.runtime.job import Job
from edgerl.runtime.succession import Work
from edgerl.target import Target, host_target


@dataclass(frozen=True, eq=False)
class Load:
    """What the loop runs, as a bundle holds it."""

    engine: Engine
    golden: bytes
    """Content of ``golden.npz``."""
    envelope: Envelope
    bundle: str
    """SHA-256 of the bundle's manifest."""

    @property
    def work(self) -> Work:
        """What a policy process is started with."""
        return Work(Job(self.engine, self.golden), self.bundle)


def load_of(bundle: Bundle, backend: str | None = None) -> Load:
    """Return what the loop needs of a bundle.

    Raises:
        BundleError: It has no engine of this backend.
    """
    entry, files = bundle.engine(backend)
    manifest = bundle.manifest
    engine = Engine(entry.backend, manifest.target.name, entry.precision, entry.parent, manifest.spec, files)
    return Load(engine, bundle.golden, manifest.envelope, bundle.digest)


def check_machine(target: Target) -> None:
    """Refuse a bundle that was packed for another processor.

    Raises:
        PlatformError: It was.
    """
    if target.arch != platform.machine():
        raise PlatformError(
            f"The bundle was packed for target '{target.name}' ({target.arch}); this machine is {platform.machine()}. "
            f"Pack the policy for it: edgerl pack POLICY --target {host_target()} -o BUNDLE"
        )
