"""Pack a policy with its limits, verify the bundle, and drive a simulated robot in another process with it."""

import tempfile
from pathlib import Path

import edgerl

CHEETAH = Path(__file__).parent / "halfcheetah"

with tempfile.TemporaryDirectory() as folder:
    model, bundle = Path(folder) / "policy.onnx", Path(folder) / "policy.edgerl"
    export = edgerl.export_checkpoint(CHEETAH / "model.zip", truth=CHEETAH / "truth.npz", spec=CHEETAH / "spec.toml")
    edgerl.save_export(export, model)
    edgerl.pack_files(model, bundle, target=edgerl.host_target(), envelope=CHEETAH / "envelope.toml")
    print("verified:", edgerl.verify_bundle(bundle).status)

    # One second in real time, the rest of the episode in lockstep.
    options = edgerl.RunOptions(realtime_s=1.0, seed=0)
    result = edgerl.run_file(bundle, "gym:HalfCheetah-v5", recording=Path(folder) / "run.erlrec", options=options)
    print(f"ended {result.ended}: return {result.episodes[0].episode_return:.0f} in {result.episodes[0].steps} steps")
    print(f"late actions: {result.misses.actions_late}, commands rejected: {result.misses.rejected}")
